"""The exact fusion: factors side by side (FLoRA, arXiv:2409.05976, section 3.2).

    sum_i w_i B_i A_i = [w_1 B_1 ... w_N B_N] [A_1; ...; A_N]

Its rank is the sum of the ranks. Nothing is lost whatever the ranks, signs and number of updates; sums of the A's and
of the B's on their own would add cross terms B_i A_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lora_loom.pipelines.adapters.factors import LoraFactors


class Weighted(NamedTuple):
    """One adapter's update of a layer, and the weight (strength with its sign) that it goes in with."""

    weight: float
    factors: LoraFactors


def stack(updates: Sequence[Weighted]) -> LoraFactors:
    """The weighted sum of at least one update of a layer, exactly; the weight goes into `up` alone, sign included."""
    down = torch.cat([factors.down for _, factors in updates])
    up = torch.cat([factors.up if weight == 1.0 else factors.up * weight for weight, factors in updates], dim=1)
    return LoraFactors(down, up)
