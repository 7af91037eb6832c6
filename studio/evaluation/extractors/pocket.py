"""The pocket encoder, the default: an open_clip model trained on the pocket world and shipped with Loom."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from studio.evaluation.extractor import FeatureExtractor, weights_hash
from studio.evaluation.features import TextFeatures

MODULE = "studio.pocket.encoder"


class PocketExtractor(FeatureExtractor):
    """Sees the pocket world, and means nothing elsewhere."""

    kind = "pocket"
    title = "Pocket encoder, for pictures of the pocket world; shipped"
    has_text = True

    def available(self) -> tuple[bool, str]:
        if importlib.util.find_spec(MODULE) is None:
            return False, "this Loom ships no pocket encoder"
        return True, ""

    @cached_property
    def _encoder(self) -> Any:
        self.require_available()
        return importlib.import_module(MODULE).load_encoder()

    @cached_property
    def version(self) -> str:
        return weights_hash(self._encoder.model)

    @cached_property
    def dim(self) -> int:
        return int(self._encoder.dim)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self._encoder.embed_images(pixels), dtype=np.float32)

    def embed_text(self, texts: Sequence[str]) -> TextFeatures:
        features = np.asarray(self._encoder.embed_texts(list(texts)), dtype=np.float32)
        return TextFeatures(features, np.zeros(len(texts), dtype=np.bool_))
