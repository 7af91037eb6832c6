"""TIES on updates: trim what is small, elect a sign for every entry, add up what agrees (arXiv:2306.01708, section 3).

On the cores of `core_space`, with two changes for composing: signs are elected after the weights are applied, so that
a faint adapter has a faint vote and a negative strength a reversed one; and the entries that agree may be added
instead of averaged, so that adapters that do not disagree come out as their sum.

Trimming is not the paper's, which counts the entries of the update itself: those of a core hold an update of rank r in
about r numbers, and what is small among them is next to nothing. Entries of the update cannot be trimmed in factors of
low rank, as what is left has the full rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.core_space import core_space
from lora_loom.pipelines.weight_space.stack import Weighted

Total = Literal["sum", "mean"]


def ties(updates: Sequence[Weighted], density: float, total: Total = "sum") -> LoraFactors:
    """The TIES merge of updates of one layer; `density` in (0, 1] is the share of each that trimming keeps."""
    space = core_space(updates)
    return space.factors(agreeing([trim(core, density) for core in space.cores], total))


def trim(core: Tensor, density: float) -> Tensor:
    """The core with all but its largest entries set to zero; ceil(density x number of entries) are kept."""
    kept = math.ceil(density * core.numel())
    if kept >= core.numel():
        return core
    mask = torch.zeros_like(core).flatten()
    mask[core.abs().flatten().topk(kept).indices] = 1.0
    return core * mask.view_as(core)


def agreeing(cores: Sequence[Tensor], total: Total) -> Tensor:
    """Per entry, the sum (or the mean over those that are not zero) of the values with the elected sign [p q]."""
    stacked = torch.stack(list(cores))  # [N p q]
    elected = stacked.sum(dim=0).sign()
    agree = (stacked.sign() == elected) & (stacked != 0)
    summed = (stacked * agree).sum(dim=0)
    return summed if total == "sum" else summed / agree.sum(dim=0).clamp_min(1)
