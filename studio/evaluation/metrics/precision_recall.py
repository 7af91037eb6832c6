"""Precision and recall: the share of generated pictures within the reference's manifold, and the other way round."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.evaluation.feature_metric import FeatureMetric
from lora_loom.studio.evaluation.metric import Side
from lora_loom.studio.evaluation.resampling import proportion_interval
from lora_loom.studio.evaluation.result import PerPicture, Result

K = 3
ROWS = 1_024


class PrecisionRecall(FeatureMetric):
    """A manifold is the union of balls around its pictures, each reaching to the k-th nearest other picture.

    Both depend on n and k, so both sides are cut to the same n. The intervals hold for the manifolds as they are.
    """

    name = "precision_recall"
    title = "Precision and recall"
    source = "arXiv:1904.06991"
    needs_reference = True

    def compute(self) -> tuple[Result, ...]:
        self.require("generated", K + 1)
        self.require("reference", K + 1)
        n = min(self.count("generated"), self.count("reference"))
        generated, reference = self._cut("generated", n), self._cut("reference", n)
        return (
            self._share("precision", generated, reference, "generated"),
            self._share("recall", reference, generated, "reference"),
        )

    def _cut(self, side: Side, n: int) -> NDArray[np.float64]:
        return self.features(side)[self._chosen(side, n)]

    def _chosen(self, side: Side, n: int) -> NDArray[np.int64]:
        """n pictures spread evenly over the order of the names."""
        return np.unique(np.linspace(0, self.count(side) - 1, n).round().astype(np.int64))

    def _share(self, name: str, inner: NDArray[np.float64], manifold: NDArray[np.float64], side: Side) -> Result:
        inside = within(inner, manifold, radii(manifold))
        chosen = self._chosen(side, len(inner))
        keys, clusters = self.keys(side), self.clusters(side)
        held = PerPicture(tuple(keys[i] for i in chosen), tuple(clusters[i] for i in chosen), inside.astype(np.float64))
        return self.result(
            float(inside.mean()),
            proportion_interval(held.values, held.clusters),
            len(inner),
            metric=name,
            variant=f"k = {K}, n = {len(inner)}",
            n_reference=len(manifold),
            higher_is_better=True,
            per_picture=held,
        )


def radii(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n]: the squared distance of every point to its k-th nearest other one."""
    reach = [np.partition(_squared(points[i : i + ROWS], points), K, axis=1)[:, K] for i in range(0, len(points), ROWS)]
    return np.concatenate(reach)


def within(points: NDArray[np.float64], manifold: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.bool_]:
    """[n]: whether each point lies in the ball around at least one point of the manifold."""
    parts = [(_squared(points[i : i + ROWS], manifold) <= reach).any(1) for i in range(0, len(points), ROWS)]
    return np.concatenate(parts)


def _squared(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n m] squared distances."""
    return ((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T).clip(0)
