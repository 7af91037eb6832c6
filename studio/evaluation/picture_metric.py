"""PictureMetric: a metric that is a mean over pictures, such as a score of each picture or a verdict on it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.features import ExtractorInfo
from lora_loom.studio.evaluation.metric import Batch, Metric, Sample, Side
from lora_loom.studio.evaluation.result import PerPicture


class PictureMetric(Metric):
    """A metric that is a mean over pictures: it holds one value per picture and column."""

    columns: ClassVar[tuple[str, ...]] = ("value",)

    def __init__(self, info: ExtractorInfo | None = None) -> None:
        super().__init__(info)
        self._keys: list[str] = []
        self._names: list[str] = []
        self._clusters: list[str] = []
        self._values: list[tuple[float, ...]] = []

    @abstractmethod
    def values(self, batch: Batch) -> NDArray[np.float64]:
        """[n columns]: the values of every picture of the batch."""

    def update(self, batch: Batch, side: Side = "generated") -> None:
        if side == "generated":
            self._add(batch.samples, self.values(batch))

    def _add(self, samples: Sequence[Sample], values: NDArray[np.float64]) -> None:
        self._keys += [sample.pair_key for sample in samples]
        self._names += [sample.name for sample in samples]
        self._clusters += [sample.cluster for sample in samples]
        self._values += [tuple(float(v) for v in row) for row in values]

    def merge(self, other: Self) -> None:
        self.check_same(other)
        if twice := sorted(set(self._names) & set(other._names)):
            raise EvaluationError("a picture would be counted twice", found=", ".join(twice[:5]))
        for name in ("_keys", "_names", "_clusters", "_values"):
            getattr(self, name).extend(getattr(other, name))

    def column(self, index: int = 0) -> PerPicture:
        """One column in the order of the names, so that workers and their order do not matter."""
        if not self._names:
            raise EvaluationError(f"{self.name} has seen no picture", expected="at least one generated picture")
        order = sorted(range(len(self._names)), key=self._names.__getitem__)
        return PerPicture(
            keys=tuple(self._keys[i] for i in order),
            clusters=tuple(self._clusters[i] for i in order),
            values=np.array([self._values[i][index] for i in order]),
        )

    @property
    def by_name(self) -> dict[str, tuple[float, ...]]:
        """The values of each picture, for contact sheets."""
        return dict(zip(self._names, self._values, strict=True))
