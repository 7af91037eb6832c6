"""Conservation: a gate decides where an adapter speaks, its strength how much; what it loses here it gains there.

    c_k^2 = sum_t |y_k|^2 / sum_t |g_k y_k|^2,  at most MAX_GAIN^2

over the tokens of one picture at one layer. Without it a gate that is trained to predict noise turns every adapter down
on the whole, since a timid guess has the smaller squared error, and concepts fade.
"""

from __future__ import annotations

from torch import Tensor

MAX_GAIN = 3.0
_TINY = 1e-12


def given_back(plain: Tensor, gated: Tensor) -> Tensor:
    """The factor c_k [b 1 N] in (0, MAX_GAIN] from |y_k|^2 and |g_k y_k|^2 [b t N]; 1 exactly where they are equal."""
    before, after = plain.sum(1, keepdim=True) + _TINY, gated.sum(1, keepdim=True) + _TINY
    return (before / after).clamp(max=MAX_GAIN**2).sqrt()
