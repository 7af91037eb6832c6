"""What a gate looks at in one layer: the energies and agreements of the adapters' outputs, read off the rank space.

With h = A x [... R] before B, y_k = s_k B_k h_k is never formed. For the Gram matrix G = B^T B [R R] of all adapters
stacked along R, and G^ its blocks on the diagonal,

    |y_k|^2 = s_k^2 h_k^T G_kk h_k        y_k . Y = s_k h_k^T (G s h)_k,  Y = sum_j y_j

so a token costs 4 R^2 operations where the update itself costs 2 R (d_in + d_out). Nothing here depends on the order of
the adapters, on their number, or on the basis that an adapter's file was written in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FEATURES = ("salience", "contrast", "share", "loudness", "agreement", "size")
LIMIT = 6.0  # of a feature in natural logarithms: beyond it more evidence says nothing new
_TINY = 1e-12
_DROWNED = 1e-4


@dataclass(frozen=True)
class Basis:
    """The N adapters at one layer: `grams` [R 2R] = (G^, G), `member` [R N] one-hot, who owns a rank; float32."""

    grams: Tensor
    member: Tensor

    @classmethod
    def of(cls, up: Tensor, ranks: Sequence[int]) -> Basis:
        """From B^T of all adapters [R d_out], in which adapter k has `ranks[k]` rows."""
        owner = torch.repeat_interleave(torch.tensor(ranks, device=up.device), output_size=len(up))
        member = F.one_hot(owner, len(ranks)).float()
        gram = up.float() @ up.float().t()
        return cls(torch.cat((gram * (member @ member.t()), gram), dim=1), member)

    def of_adapters(self, gates: Tensor) -> Tensor:
        """The gates of the adapters [n N] from those of their ranks [n R]: the mean."""
        return gates @ (self.member / self.member.sum(0))


@dataclass(frozen=True)
class Evidence:
    """Of N adapters at t tokens: `features` [b t N F], `energy` [b t N] = |y_k|^2, `company` [b 1 N].

    `company` in [0, 1] is how much else there is to give way to: min(1, sum_{j != k} |s_j|), 0 for one that is alone.
    """

    features: Tensor
    energy: Tensor
    company: Tensor


def gather(spoken: Tensor, base: Tensor, basis: Basis, strengths: Tensor) -> Evidence:
    """Evidence from s h [b t R], the base's |y_0|^2 [b t] and the `strengths` of the adapters [b N]; all float32.

    The features, in the order of FEATURES, are natural logarithms within +-LIMIT, except for the fifth: |y_k|^2 over
    its mean in the picture (who has more to say here than elsewhere, the measure of `arbiter`); that over its mean over
    the adapters; |y_k|^2 over the sum of all; the picture's mean of |y_k|^2 over the sum of all; the cosine of y_k with
    what all others say; and |y_k|^2 over |y_0|^2. Those of an adapter with strength 0 are 0.
    """
    ranks = spoken.shape[-1]
    present = (strengths != 0).float()[:, None]  # [b 1 N]
    both = spoken @ basis.grams
    energy = ((spoken * both[..., :ranks]) @ basis.member).clamp_min(0)
    toward = (spoken * both[..., ranks:]) @ basis.member  # y_k . Y
    everyone = toward.sum(-1, keepdim=True)  # |Y|^2
    # |Y - y_k|^2; not less than rounding leaves of it where y_k drowns all others
    others = (everyone - 2 * toward + energy).maximum(_DROWNED * energy)
    level = energy.mean(1, keepdim=True)
    salience = (energy + _TINY) / (level + _TINY)
    typical = (salience * present).sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp_min(1)
    ratios = (
        salience,
        salience / (typical + _TINY),
        (energy + _TINY) / (energy.sum(-1, keepdim=True) + _TINY),
        ((level + _TINY) / (level.sum(-1, keepdim=True) + _TINY)).expand_as(energy),
        (energy + _TINY) / (base[..., None] + _TINY),
    )
    logs = torch.stack(ratios, -1).log().clamp(-LIMIT, LIMIT)
    agreement = (toward - energy) * torch.rsqrt(energy * others + _TINY)
    features = torch.cat((logs[..., :4], agreement.clamp(-1, 1)[..., None], logs[..., 4:]), dim=-1)
    return Evidence(features * present[..., None], energy, company_of(strengths))


def company_of(strengths: Tensor) -> Tensor:
    """[b N] -> [b 1 N], see Evidence."""
    weight = strengths.abs()
    return (weight.sum(-1, keepdim=True) - weight).clamp(0, 1)[:, None]
