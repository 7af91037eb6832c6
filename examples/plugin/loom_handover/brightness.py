"""Brightness: how light the pictures are, a metric without features, reference or interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.evaluation.metric import Batch
from lora_loom.studio.evaluation.picture_metric import PictureMetric
from lora_loom.studio.evaluation.result import Result


class Brightness(PictureMetric):
    """Mean of all channels over the pictures, 0 is black and 1 is white."""

    name = "brightness"
    title = "Brightness"
    source = "mean of the pixels"
    needs_features = False
    needs_pixels = True

    def values(self, batch: Batch) -> NDArray[np.float64]:
        assert batch.pixels is not None
        return batch.pixels.mean(axis=(1, 2, 3), dtype=np.float64)[:, None] / 255.0

    def compute(self) -> tuple[Result, ...]:
        held = self.column()
        return (self.result(float(held.values.mean()), None, len(held.values), per_picture=held),)
