"""CLIPScore in its four common meanings, each named, with the prompts that CLIP cut short counted.

torchmetrics 1.9 has a CLIPScore, too: it fails with transformers 5, whose `get_image_features` returns an object
("BaseModelOutputWithPooling has no attribute norm"), so its definition is computed here from our own features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.evaluation.metric import Batch
from lora_loom.studio.evaluation.picture_metric import PictureMetric
from lora_loom.studio.evaluation.resampling import cluster_bootstrap
from lora_loom.studio.evaluation.result import PerPicture, Result
from lora_loom.studio.evaluation.vectors import row_cosines

PLAIN, DEPICTS = "{}", "A photo depicts {}"
COCO_MODEL = "ViT-g-14"


class ClipScore(PictureMetric):
    """Similarity of each picture and its prompt.

    cosine: the plain mean cosine.
    hessel: 2.5 max(cos, 0) with the prompt after "A photo depicts" (arXiv:2104.08718; on ViT-B/32).
    torchmetrics: max(mean of 100 cos, 0): the mean is clamped, not each pair.
    coco: the plain mean cosine on open_clip's ViT-g-14, as in tables on COCO; only given on that model.
    """

    name = "clip_score"
    title = "CLIPScore"
    source = "arXiv:2104.08718"
    needs_prompts = True
    templates = (PLAIN, DEPICTS)
    extractor_kinds = ("clip", "open_clip", "pocket")
    columns = ("cosine", "cosine with prefix", "truncated")

    def values(self, batch: Batch) -> NDArray[np.float64]:
        if batch.features is None:
            raise ValueError("clip_score needs features")
        cosines = [row_cosines(batch.features, batch.texts[template].features) for template in self.templates]
        return np.stack([*cosines, batch.texts[PLAIN].truncated], axis=1).astype(np.float64)

    def compute(self) -> tuple[Result, ...]:
        plain, prefixed = self.column(0), self.column(1)
        variants = [
            self._variant("cosine", plain, plain.values),
            self._variant("hessel", prefixed, 2.5 * prefixed.values.clip(0)),
            self._variant("torchmetrics", plain, 100 * plain.values, clamp=True),
        ]
        if COCO_MODEL in self.info.id:
            variants.append(self._variant("coco", plain, plain.values))
        return tuple(variants)

    def _variant(self, name: str, held: PerPicture, values: NDArray[np.float64], *, clamp: bool = False) -> Result:
        mean, interval = float(values.mean()), cluster_bootstrap(values, held.clusters)
        if clamp:
            mean, interval = max(mean, 0.0), interval and (max(interval[0], 0.0), max(interval[1], 0.0))
        warnings = [] if interval else ["no interval: all pictures have one prompt"]
        if truncated := int(self.column(2).values.sum()):
            warnings.append(f"{truncated} prompts are longer than the model reads; their ends had no say")
        return self.result(
            mean,
            interval,
            len(values),
            variant=name,
            higher_is_better=True,
            warnings=tuple(warnings),
            per_picture=PerPicture(held.keys, held.clusters, values),
        )
