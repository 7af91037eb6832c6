"""What CLIP-I and DINO share: the mean cosine between every generated and every reference picture."""

from __future__ import annotations

from lora_loom.studio.evaluation.feature_metric import FeatureMetric
from lora_loom.studio.evaluation.resampling import cluster_bootstrap
from lora_loom.studio.evaluation.result import PerPicture, Result
from lora_loom.studio.evaluation.vectors import unit

COPIES = "highest for a copy of the reference: read it beside clip_score and nearest_training_image"


class SimilarityMetric(FeatureMetric):
    """Per picture the mean cosine to the reference pictures, which are taken as given."""

    needs_reference = True

    def compute(self) -> tuple[Result, ...]:
        self.require("generated", 1)
        self.require("reference", 1)
        x, y = (unit(self.features(side)) for side in ("generated", "reference"))
        values, clusters = x @ y.mean(0), self.clusters("generated")
        interval = cluster_bootstrap(values, clusters)
        one = () if interval else ("no interval: all pictures have one prompt",)
        return (
            self.result(
                float(values.mean()),
                interval,
                len(x),
                variant="mean pairwise cosine",
                n_reference=len(y),
                higher_is_better=True,
                warnings=(COPIES, *one),
                per_picture=PerPicture(self.keys("generated"), clusters, values),
            ),
        )
