"""Distance to the nearest training image: whether a generator copies what it was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.evaluation.feature_metric import FeatureMetric
from lora_loom.studio.evaluation.resampling import cluster_bootstrap
from lora_loom.studio.evaluation.result import PerPicture, Result
from lora_loom.studio.evaluation.vectors import unit

ROWS = 1_024
COPY_QUANTILE = 0.01


class NearestTrainingImage(FeatureMetric):
    """1 - cosine to the nearest reference picture, which are the training pictures here.

    A copy is a picture nearer to a training picture than 99 % of those are to their own nearest neighbour; about 1 %
    of new pictures of the same distribution count as copies by that.
    """

    name = "nearest_training_image"
    title = "Nearest training image"
    source = "Meehan et al., arXiv:2004.05675, as a nearest-neighbour test"
    needs_reference = True

    def compute(self) -> tuple[Result, ...]:
        self.require("generated", 1)
        self.require("reference", 2)
        x, y = unit(self.features("generated")), unit(self.features("reference"))
        distance = nearest(x, y)
        threshold = float(np.quantile(nearest(y, y, skip_self=True), COPY_QUANTILE))
        copies = (distance < threshold).astype(np.float64)
        return (
            self._mean("nearest_training_image", distance, len(y), "mean of 1 - cosine", better_high=None),
            self._mean("copies", copies, len(y), "share of copies", better_high=False, threshold=threshold),
        )

    def _mean(
        self,
        name: str,
        values: NDArray[np.float64],
        m: int,
        variant: str,
        *,
        better_high: bool | None,
        **details: float,
    ) -> Result:
        clusters = self.clusters("generated")
        return self.result(
            float(values.mean()),
            cluster_bootstrap(values, clusters),
            len(values),
            metric=name,
            variant=variant,
            n_reference=m,
            higher_is_better=better_high,
            details=details,
            per_picture=PerPicture(self.keys("generated"), clusters, values),
        )


def nearest(x: NDArray[np.float64], y: NDArray[np.float64], *, skip_self: bool = False) -> NDArray[np.float64]:
    """[n]: the smallest 1 - cosine of each row of x to a row of y, both of unit length; `skip_self` if y is x."""
    found: list[NDArray[np.float64]] = []
    for start in range(0, len(x), ROWS):
        distance = 1 - x[start : start + ROWS] @ y.T
        if skip_self:
            rows = np.arange(len(distance))
            distance[rows, start + rows] = np.inf
        found.append(distance.min(1))
    return np.concatenate(found)
