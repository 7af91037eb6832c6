"""DARE on updates: drop entries at random and scale up the rest (arXiv:2311.03099, section 3).

On the cores of `core_space`: K' = M o K / p with M a Bernoulli(p) mask, right in the mean; the noise has the energy
(1 / p - 1) |K|^2, so p = 0.5 adds as much noise as there is signal. A mask belongs to an adapter and a layer, never to
a place in the order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.core_space import core_space
from lora_loom.pipelines.weight_space.stack import Weighted
from lora_loom.pipelines.weight_space.ties import agreeing


def dare(updates: Sequence[Weighted], density: float, seeds: Sequence[int], *, elect_signs: bool) -> LoraFactors:
    """The DARE merge of updates of one layer; `density` p in (0, 1] is the share that is kept, `seeds` one an update.

    With `elect_signs` the entries that survive are added where they agree in sign, as in TIES.
    """
    space = core_space(updates)
    dropped = [drop(core, density, seed) for core, seed in zip(space.cores, seeds, strict=True)]
    return space.factors(agreeing(dropped, "sum") if elect_signs else torch.stack(dropped).sum(dim=0))


def drop(core: Tensor, density: float, seed: int) -> Tensor:
    """M o K / p, the mask drawn on the CPU, so that one seed is one mask on every device."""
    mask = torch.rand(core.shape, generator=torch.Generator().manual_seed(seed)) < density
    return core * mask.to(core.device) / density


def mask_seed(*names: str | int) -> int:
    """A seed that depends on these names alone: the same in every process."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, names)).encode()).digest()[:6], "little")
