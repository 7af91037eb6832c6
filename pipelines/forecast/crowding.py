"""What all updates of a layer do to each other together: interference, lost capacity, and what a smaller rank costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lora_loom.pipelines.weight_space.canonical import RELATIVE_FLOOR, Spectrum
from lora_loom.pipelines.weight_space.decompose import singular_values


@dataclass(frozen=True)
class Crowding:
    """What the updates of some layers do to each other together; sums over layers.

    `interference` is TSV's measure |(U^T U - I) S (V^T V - I)|_1 (arXiv:2412.00081, section 4), `nuclear` sum S to
    measure it by; `rank` that of the stacked updates and `ranks` the sum of their ranks; `energy` |sum_i dW_i|^2
    and `lost` what of it the best sum of rank k leaves out, by k.
    """

    interference: float
    nuclear: float
    rank: int
    ranks: int
    energy: float
    lost: dict[int, float]

    def __add__(self, other: Crowding) -> Crowding:
        return Crowding(
            self.interference + other.interference,
            self.nuclear + other.nuclear,
            self.rank + other.rank,
            self.ranks + other.ranks,
            self.energy + other.energy,
            {k: self.lost.get(k, 0.0) + other.lost.get(k, 0.0) for k in {**self.lost, **other.lost}},
        )


NO_CROWDING = Crowding(0.0, 0.0, 0, 0, 0.0, {})
CUTS = (4, 8, 16, 32, 64, 128)  # ranks that a recompression might be asked for


def crowding(forms: Sequence[Spectrum]) -> Crowding:
    """That of one layer, from `shared_coordinates`."""
    u, v = torch.cat([form.u for form in forms], dim=1), torch.cat([form.v for form in forms], dim=1)
    s = torch.cat([form.s for form in forms])
    if not len(s):
        return NO_CROWDING
    identity = torch.eye(len(s), dtype=s.dtype)
    mixed = ((u.T @ u - identity) * s) @ (v.T @ v - identity)
    together = singular_values((u * s) @ v.T)
    energy = together.square()
    return Crowding(
        interference=float(mixed.abs().sum()),
        nuclear=float(s.sum()),
        rank=int((together > RELATIVE_FLOOR * float(s.max())).sum()),
        ranks=len(s),
        energy=float(energy.sum()),
        lost={k: float(energy[k:].sum()) for k in CUTS},
    )
