"""DINOv2 from transformers, by hub id or folder: the class token, as the DINO score and Stein et al. use it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.evaluation.extractor import FeatureExtractor, weights_hash

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Dinov2Extractor(FeatureExtractor):
    """The normalised class token (arXiv:2304.07193); the best agreement with people in arXiv:2306.04675."""

    kind = "dinov2"
    title = "DINOv2 by transformers"
    source_help = "a hub id such as facebook/dinov2-base, or a folder"

    def available(self) -> tuple[bool, str]:
        from lora_loom.studio.evaluation.extractors.vision import source_given

        return source_given(self.source, self.kind, "facebook/dinov2-base")

    @cached_property
    def _model(self) -> Any:
        from transformers import Dinov2Model

        from lora_loom.studio.evaluation.extractors.vision import device, load_pretrained

        self.require_available()
        return load_pretrained(Dinov2Model, self.source, self.id).to(device()).eval()

    @cached_property
    def version(self) -> str:
        return weights_hash(self._model)

    @cached_property
    def dim(self) -> int:
        return int(self._model.config.hidden_size)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        from lora_loom.studio.evaluation.extractors.vision import Preprocessing, preprocessing_of, run

        size = min(224, self._model.config.image_size)  # trained at up to 518, evaluated at 224 by everyone
        default = Preprocessing(size, "crop", MEAN, STD, shorter=round(size * 256 / 224))
        preprocess = preprocessing_of(self.source, default)
        return run(lambda x: self._model(pixel_values=x).pooler_output, preprocess, pixels)
