"""CLIP from transformers, by hub id or folder.

transformers 5 returns an object from `get_image_features` and `get_text_features` where version 4 returned a tensor;
the features are its `pooler_output`. Pixels are prepared here, since its image processors want torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.evaluation.extractor import FeatureExtractor, weights_hash
from lora_loom.studio.evaluation.features import TextFeatures

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipExtractor(FeatureExtractor):
    """Projected features of the two towers."""

    kind = "clip"
    title = "CLIP by transformers"
    source_help = "a hub id such as openai/clip-vit-base-patch32, or a folder"
    has_text = True

    def available(self) -> tuple[bool, str]:
        from lora_loom.studio.evaluation.extractors.vision import source_given

        return source_given(self.source, self.kind, "openai/clip-vit-base-patch32")

    @cached_property
    def _model(self) -> Any:
        from transformers import CLIPModel

        from lora_loom.studio.evaluation.extractors.vision import device, load_pretrained

        self.require_available()
        return load_pretrained(CLIPModel, self.source, self.id).to(device()).eval()

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        from lora_loom.studio.evaluation.extractors.vision import load_pretrained

        return load_pretrained(AutoTokenizer, self.source, self.id)

    @cached_property
    def version(self) -> str:
        return weights_hash(self._model)

    @cached_property
    def dim(self) -> int:
        return int(self._model.config.projection_dim)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        from lora_loom.studio.evaluation.extractors.vision import Preprocessing, preprocessing_of, run

        size = self._model.config.vision_config.image_size
        preprocess = preprocessing_of(self.source, Preprocessing(size, "crop", MEAN, STD))
        return run(lambda x: _tensor(self._model.get_image_features(pixel_values=x)), preprocess, pixels)

    def embed_text(self, texts: Sequence[str]) -> TextFeatures:
        import torch

        limit = self._model.config.text_config.max_position_embeddings
        lengths = [len(ids) for ids in self._tokenizer(list(texts))["input_ids"]]
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, max_length=limit, return_tensors="pt")
        with torch.inference_mode():
            output = self._model.get_text_features(**tokens.to(self._model.device))
        return TextFeatures(_tensor(output).float().cpu().numpy(), np.array([length > limit for length in lengths]))


def _tensor(output: Any) -> Any:
    return output if hasattr(output, "cpu") else output.pooler_output
