"""The pocket encoder, the default: an open_clip model trained on the pocket world and shipped with Loom."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.evaluation.extractor import FeatureExtractor
from lora_loom.studio.evaluation.features import TextFeatures
from lora_loom.studio.evaluation.resize import resize

if TYPE_CHECKING:
    from lora_loom.studio.pocket.encoder import PocketEncoder


class PocketExtractor(FeatureExtractor):
    """Sees the pocket world, and means nothing elsewhere."""

    kind = "pocket"
    title = "Pocket encoder, for pictures of the pocket world; shipped"
    has_text = True

    def available(self) -> tuple[bool, str]:
        from lora_loom.studio.pocket.encoder import CONFIG, FOLDER, WEIGHTS

        if self.source:
            return False, "there is one pocket encoder: ask for pocket alone"
        if not (FOLDER / WEIGHTS).is_file() or not (FOLDER / CONFIG).is_file():
            return False, "this Loom ships no weights of the pocket encoder"
        if importlib.util.find_spec("open_clip") is None:
            return False, "open-clip-torch is not installed"
        return True, ""

    @cached_property
    def _encoder(self) -> PocketEncoder:
        from lora_loom.studio.pocket.encoder import shipped_encoder

        self.require_available()
        return shipped_encoder()

    @property
    def version(self) -> str:
        return self._encoder.version

    @property
    def dim(self) -> int:
        return self._encoder.dim

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._encoder.embed_images(resize(pixels, self._encoder.image_size))

    def embed_text(self, texts: Sequence[str]) -> TextFeatures:
        from lora_loom.studio.pocket.encoder import encoder_tokens

        limit = self._encoder.context_length
        padding = encoder_tokens([""], limit)[0, -1]
        longer = (encoder_tokens(texts, 4 * limit) != padding).sum(1) > limit
        return TextFeatures(self._encoder.embed_texts(texts), longer.numpy())
