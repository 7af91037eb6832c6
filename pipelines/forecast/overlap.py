"""How much the updates of one layer share, as energies that add up over layers.

With dW_i = U_i S_i V_i^T (weights inside S), M = U_i^T U_j and N = V_i^T V_j:

    inner   <dW_i, dW_j> = sum(S_i o (M o N) o S_j)
    out     |M^T S_i|^2      the energy of i that is written where j writes
    into    |N^T S_i|^2      the energy of i that is driven by what j responds to
    both    |M^T S_i N|^2    both at once

Divided by |S_i|^2 these are directional shares; by chance out is r_j / m, into r_j / n and both r_j^2 / (m n). All run
on coordinates in the span of the factors: nothing but two thin QRs depends on m and n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lora_loom.pipelines.weight_space.canonical import Spectrum
from lora_loom.pipelines.weight_space.decompose import thin_qr

FIELDS = ("inner", "out", "into", "both", "out_chance", "in_chance", "both_chance", "noise", "weight", "log", "square")


@dataclass(frozen=True)
class Sums:
    """Energies over some layers, every one a table [n n] over ordered pairs (i, j) of adapters; they add up.

    `inner` has the energies |dW_i|^2 on its diagonal; `noise` is the variance of `inner` for random directions.
    `weight`, `log` and `square` are sums of |dW_i| |dW_j|, and of it times log2(|dW_i| / |dW_j|) and the square of
    that, over the layers that both have.
    """

    tables: Tensor  # [len(FIELDS) n n], float64
    layers: int

    @classmethod
    def zero(cls, n: int) -> Sums:
        return cls(torch.zeros(len(FIELDS), n, n, dtype=torch.float64), 0)

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.tables + other.tables, self.layers + other.layers)

    def of(self, field: str) -> Tensor:
        """One table [n n]."""
        return self.tables[FIELDS.index(field)]


def shared_coordinates(forms: Sequence[Spectrum], weights: Sequence[float]) -> list[Spectrum]:
    """The weighted updates of a layer in a basis of their common spans: U, V of at most R rows, the same products.

    The sign of a weight goes into U.
    """
    r_out = thin_qr(torch.cat([form.u for form in forms], dim=1))[1]
    r_in = thin_qr(torch.cat([form.v for form in forms], dim=1))[1]
    ranks = [form.rank for form in forms]
    blocks = zip(forms, weights, torch.split(r_out, ranks, 1), torch.split(r_in, ranks, 1), strict=True)
    return [replace(form, u=u if weight >= 0 else -u, s=form.s * abs(weight), v=v) for form, weight, u, v in blocks]


def overlaps(forms: Sequence[Spectrum], members: Sequence[int], n: int, shape: tuple[int, int]) -> Sums:
    """The sums of one layer of shape [m n] for `n` adapters, of which `members` have it, in this order."""
    m, inputs = shape
    ranks = [form.rank for form in forms]
    owner = torch.zeros(sum(ranks), len(forms), dtype=torch.float64)  # [R p], whose rank it is
    owner[torch.arange(sum(ranks)), torch.repeat_interleave(torch.arange(len(forms)), torch.tensor(ranks))] = 1.0
    u, v = torch.cat([form.u for form in forms], dim=1), torch.cat([form.v for form in forms], dim=1)
    s = torch.cat([form.s for form in forms])
    outputs, into = u.T @ u, v.T @ v  # [R R]

    def by_owner(entries: Tensor) -> Tensor:
        return owner.T @ entries @ owner

    inner = by_owner(s[:, None] * outputs * into * s)
    energy = torch.stack([form.s.square().sum() for form in forms])
    rank = torch.tensor(ranks, dtype=torch.float64)
    both = torch.zeros_like(inner)
    out_blocks = [torch.split(each, ranks, 1) for each in torch.split(outputs, ranks, 0)]
    in_blocks = [torch.split(each, ranks, 1) for each in torch.split(into, ranks, 0)]
    for i, form in enumerate(forms):
        for j in range(len(forms)):
            both[i, j] = ((out_blocks[j][i] * form.s) @ in_blocks[i][j]).square().sum()
    ratio = 0.5 * torch.log2(energy[:, None] / energy)
    weight = torch.sqrt(energy[:, None] * energy) * ratio.isfinite()
    ratio = torch.where(ratio.isfinite(), ratio, 0.0)
    found = {
        "inner": inner,
        "out": by_owner((s[:, None] * outputs).square()),
        "into": by_owner((s[:, None] * into).square()),
        "both": both,
        "out_chance": energy[:, None] * (rank / m).clamp_max(1.0),
        "in_chance": energy[:, None] * (rank / inputs).clamp_max(1.0),
        "both_chance": energy[:, None] * (rank / m).clamp_max(1.0) * (rank / inputs).clamp_max(1.0),
        "noise": energy[:, None] * energy / (m * inputs),
        "weight": weight,
        "log": weight * ratio,
        "square": weight * ratio.square(),
    }
    tables = torch.zeros(len(FIELDS), n, n, dtype=torch.float64)
    places = torch.tensor(members)
    tables[:, places[:, None], places] = torch.stack([found[field] for field in FIELDS])
    return Sums(tables, 1)
