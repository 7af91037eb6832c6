"""LayerMap: the layers of one base that adapters can act on, told apart from those of every other base.

A gate is learned on one base and means nothing on another. So it carries, for every layer, where the layer lies and a
fingerprint of its weights: p_j = sum_i w_i cos((j + 1) i) / |w| over the first 4096 weights, four numbers that survive
another number format and a light fine-tune, and that two different bases do not share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_loom.pipelines.runtime.placement import carries, shape_of

NUMBERS = 4
TOLERANCE = 0.15  # a fingerprint of two unrelated layers differs by 0.7 on average
_WEIGHTS = 4096
KINDS = ("attn1", "attn2", "attn", "to_q", "to_k", "to_v", "to_out", "ff", "proj", "conv", "time", "down", "mid", "up")


@dataclass(frozen=True)
class LayerMap:
    """Rows of `fingerprints` [s 4] and `widths` (d_out) by module path, in the order of the model's modules."""

    rows: Mapping[str, int]
    fingerprints: Tensor
    widths: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module) -> LayerMap:
        """The map of a denoiser, whose weights are read once."""
        named = cast("Iterable[tuple[str, nn.Module]]", model.named_modules())
        layers = {path: module for path, module in named if carries(module)}
        fingerprints = [fingerprint_of(module) for module in layers.values()]
        widths = tuple(shape_of(module)[1] for module in layers.values())
        return cls(
            {path: row for row, path in enumerate(layers)}, torch.stack([_known(each) for each in fingerprints]), widths
        )

    def knows(self, path: str, module: nn.Module) -> bool:
        """Whether this is the layer of that path in the base of this map."""
        row = self.rows.get(path)
        if row is None or shape_of(module)[1] != self.widths[row]:
            return False
        found = fingerprint_of(module)
        return found is None or bool((found - self.fingerprints[row]).abs().max() <= TOLERANCE)

    def features(self) -> Tensor:
        """What a path says of its layer [s len(KINDS) + 1]: which kind it is of, and its depth in [0, 1]."""
        last = max(len(self.rows) - 1, 1)
        return torch.tensor([[*(float(kind in path) for kind in KINDS), row / last] for path, row in self.rows.items()])


def fingerprint_of(module: Any) -> Tensor | None:
    """The four numbers of a layer in float32 on the CPU; None where weights are packed, or not in memory at all."""
    weight: Tensor = module.weight
    if weight.is_meta or not weight.is_floating_point():
        return None
    first = weight.detach().flatten()[:_WEIGHTS].float().cpu()
    angles = torch.arange(len(first))[None] * torch.arange(1, NUMBERS + 1)[:, None]
    return F.normalize(first, dim=0) @ angles.cos().t()


def _known(fingerprint: Tensor | None) -> Tensor:
    return torch.zeros(NUMBERS) if fingerprint is None else fingerprint
