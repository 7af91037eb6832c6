"""The best update of a smaller rank, with what it loses.

    |B A - (B A)_k|_F = sqrt(sum_{j > k} S_j^2)        (Eckart and Young)

The decomposition runs on the factors, so this is the optimum that a dense SVD gives, without the dense matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.canonical import balanced, canonical
from lora_loom.pipelines.weight_space.decompose import frobenius


@dataclass(frozen=True)
class Recompressed:
    """The factors and their relative truncation error |lost|_F / |update|_F, with both norms."""

    factors: LoraFactors
    lost: float
    norm: float

    @property
    def error(self) -> float:
        return self.lost / self.norm if self.norm else 0.0


def recompress(factors: LoraFactors, rank: int) -> Recompressed:
    """The best factors of at most `rank` ranks, at least 1."""
    if rank < 1:
        raise ValueError(f"a rank of {rank}")
    form = canonical(factors)
    lost = frobenius(form.s[rank:])
    return Recompressed(balanced(form.cut(rank)), lost, form.norm)
