"""Diversity: how different the pictures of one prompt are from one another, in features and in pixels."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.feature_metric import FeatureMetric
from lora_loom.studio.evaluation.resampling import cluster_bootstrap
from lora_loom.studio.evaluation.result import PerPicture, Result
from lora_loom.studio.evaluation.vectors import unit


class Diversity(FeatureMetric):
    """Mean of 1 - cosine over the pairs of pictures of one prompt, then over prompts; without prompts, over all pairs.

    0 for equal pictures. It sees a lost spread, which CMMD does not.
    """

    name = "diversity"
    title = "Diversity"
    source = "mean pairwise distance, as in arXiv:1801.03924 for LPIPS"

    def compute(self) -> tuple[Result, ...]:
        self.require("generated", 2)
        x = unit(self.features("generated"))
        members: defaultdict[str, list[int]] = defaultdict(list)
        for index, cluster in enumerate(self.clusters("generated")):
            members[cluster].append(index)
        values = {cluster: _spread(x[index]) for cluster, index in members.items() if len(index) > 1}
        if not values:
            return (self._over_all_pairs(x),)
        held = PerPicture(tuple(values), tuple(values), np.array(list(values.values())))
        interval = cluster_bootstrap(held.values, held.clusters)
        alone = sum(1 for index in members.values() if len(index) == 1)
        warnings = [f"{alone} prompts have one picture and no say"] if alone else []
        if interval is None:
            warnings.append("no interval: all pictures have one prompt")
        n = sum(len(index) for index in members.values() if len(index) > 1)
        return (
            self.result(
                float(held.values.mean()),
                interval,
                n,
                variant="within prompts",
                higher_is_better=True,
                warnings=tuple(warnings),
                per_picture=held,
            ),
        )

    def _over_all_pairs(self, x: np.ndarray) -> Result:
        if len(x) < 2:
            raise EvaluationError("diversity needs two pictures")
        value = _spread(x)
        rows = 1 - (x @ x.sum(0) - 1) / (len(x) - 1)  # [n]: the mean distance of each picture to the others
        interval = cluster_bootstrap(rows, self.clusters("generated"))
        return self.result(value, interval, len(x), variant="all pairs", higher_is_better=True)


def _spread(x: np.ndarray) -> float:
    """Mean of 1 - cosine over all pairs of different rows [n d], which are of unit length."""
    n = len(x)
    return float(1 - (np.square(x.sum(0)).sum() - n) / (n * (n - 1)))
