"""The trust region: how loud gated adapters may get together, beside the base and beside what was asked for.

    sum_k |g_k y_k|  <=  max(sum_k |y_k|, trust |y_0|)        per token

The plain sum is always allowed, since it is what the strengths ask for; beyond it gates may raise the adapters only up
to `trust` times the base's own output. Where they would go further, all that are not pinned are turned down alike.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TINY = 1e-12


def within(trust: float, plain: Tensor, gated: Tensor, base: Tensor, pinned: Tensor | None) -> Tensor:
    """The factor [b t 1] in (0, 1] for the adapters that are not pinned.

    `plain` [b t N] are the |y_k|, `gated` [b t N] the |g_k y_k|, `base` [b t] is |y_0|; `pinned` [N] is 1 for those
    that keep their gate of 1.
    """
    allowed = (trust * base)[..., None].maximum(plain.sum(-1, keepdim=True))
    free = gated
    if pinned is not None:
        allowed = allowed - (plain * pinned).sum(-1, keepdim=True)
        free = gated * (1 - pinned)
    loud = free.sum(-1, keepdim=True)
    return torch.where(loud > allowed, allowed / (loud + _TINY), torch.ones_like(loud))
