"""FeatureMetric: a metric that needs all features of both sides at once, such as those over pairs of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.features import ExtractorInfo
from lora_loom.studio.evaluation.metric import Batch, Metric, Side
from lora_loom.studio.evaluation.resampling import group_of


@dataclass(frozen=True)
class _Held:
    name: str
    key: str
    cluster: str
    features: NDArray[np.float32]


class FeatureMetric(Metric):
    """It holds features, name, pair key and cluster of every picture; all are read in the order of the names.

    That order makes results independent of how the pictures were spread over workers.
    """

    groups: ClassVar[int] = 20  # of prompts, left out in turn

    def __init__(self, info: ExtractorInfo | None = None) -> None:
        super().__init__(info)
        self._held: dict[Side, list[_Held]] = {"generated": [], "reference": []}

    def update(self, batch: Batch, side: Side = "generated") -> None:
        if batch.features is None:
            raise ValueError(f"{self.name} needs features")
        self._held[side] += [
            _Held(sample.name, sample.pair_key, sample.cluster, row)
            for sample, row in zip(batch.samples, batch.features, strict=True)
        ]

    def merge(self, other: Self) -> None:
        self.check_same(other)
        for side, held in self._held.items():
            names = {entry.name for entry in held}
            if twice := sorted(names & {entry.name for entry in other._held[side]}):
                raise EvaluationError("a picture would be counted twice", found=", ".join(twice[:5]))
            held += other._held[side]

    def count(self, side: Side) -> int:
        return len(self._held[side])

    def features(self, side: Side) -> NDArray[np.float64]:
        """[n d]."""
        return np.array([entry.features for entry in self._ordered(side)], dtype=np.float64).reshape(
            self.count(side), -1
        )

    def clusters(self, side: Side) -> tuple[str, ...]:
        return tuple(entry.cluster for entry in self._ordered(side))

    def keys(self, side: Side) -> tuple[str, ...]:
        """What pairs each picture with that of another method."""
        return tuple(entry.key for entry in self._ordered(side))

    def group_index(self, side: Side) -> NDArray[np.int64]:
        """[n]: the group of every picture, by its prompt."""
        return np.array([group_of(cluster, self.groups) for cluster in self.clusters(side)], dtype=np.int64)

    def require(self, side: Side, least: int) -> None:
        """Raise EvaluationError for fewer than `least` pictures on that side."""
        if self.count(side) < least:
            raise EvaluationError(
                f"{self.name} needs more {side} pictures", expected=f"at least {least}", found=str(self.count(side))
            )

    def _ordered(self, side: Side) -> list[_Held]:
        return sorted(self._held[side], key=lambda entry: entry.name)
