"""Any model of open_clip, by name and local weights, or a folder that open_clip saved.

open_clip imports torchvision, so it is imported only when such a model is used, and a torchvision that does not fit
the installed torch is told as the reason. Pixels are prepared by Loom, with the mean and deviation of the model.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.extractor import FeatureExtractor, weights_hash
from lora_loom.studio.evaluation.features import TextFeatures


class OpenClipExtractor(FeatureExtractor):
    """Features of the two towers."""

    kind = "open_clip"
    title = "Any open_clip model"
    source_help = "NAME=WEIGHTS, such as ViT-B-32=weights.safetensors, or a folder with open_clip_config.json"
    has_text = True

    def available(self) -> tuple[bool, str]:
        if importlib.util.find_spec("open_clip") is None:
            return False, "open-clip-torch is not installed"
        name, _, weights = self.source.partition("=")
        if not name:
            return False, "no model is named: write open_clip:NAME=WEIGHTS, or open_clip:FOLDER"
        if not weights and not (Path(name) / "open_clip_config.json").is_file():
            return False, f"{name} is no folder with an open_clip_config.json, and no weights are named"
        if weights and not Path(weights).is_file():
            return False, f"the weights {weights} are not there"
        return True, ""

    @cached_property
    def _name(self) -> str:
        name, _, weights = self.source.partition("=")
        return name if weights else f"local-dir:{name}"

    @cached_property
    def _open_clip(self) -> Any:
        try:
            return importlib.import_module("open_clip")
        except (ImportError, RuntimeError) as error:  # torchvision of another build: "operator nms does not exist"
            raise EvaluationError(
                f"feature extractor {self.id} is unavailable because open_clip cannot be imported",
                found=str(error),
                remedy="Install the torchvision that belongs to the installed torch",
            ) from error

    @cached_property
    def _model(self) -> Any:
        from lora_loom.studio.evaluation.extractors.vision import device

        self.require_available()
        weights = self.source.partition("=")[2] or None
        try:
            model = self._open_clip.create_model(
                self._name, pretrained=weights, require_pretrained=True, pretrained_text=False
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise EvaluationError(
                f"feature extractor {self.id} could not be loaded", found=str(error).splitlines()[0][:200]
            ) from error
        return model.to(device()).eval()

    @cached_property
    def _tokenizer(self) -> Any:
        return self._open_clip.get_tokenizer(self._name)

    @cached_property
    def version(self) -> str:
        return weights_hash(self._model)

    @cached_property
    def dim(self) -> int:
        return self.embed_text([""]).features.shape[1]

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        from lora_loom.studio.evaluation.extractors.vision import Preprocessing, run

        config = self._open_clip.get_model_preprocess_cfg(self._model)
        size = config["size"] if isinstance(config["size"], int) else config["size"][0]
        preprocess = Preprocessing(
            size, "squash" if config.get("resize_mode") == "squash" else "crop", config["mean"], config["std"]
        )
        return run(self._model.encode_image, preprocess, pixels)

    def embed_text(self, texts: Sequence[str]) -> TextFeatures:
        import torch

        tokens = self._tokenizer(list(texts))
        with torch.inference_mode():
            features = self._model.encode_text(tokens.to(next(self._model.parameters()).device))
        longer = self._tokenizer(list(texts), context_length=4 * tokens.shape[1])
        truncated = (longer != 0).sum(1) > tokens.shape[1]
        return TextFeatures(features.float().cpu().numpy(), truncated.numpy())
