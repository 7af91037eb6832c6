"""The Inception of FID, from a local file of weights in the naming of pytorch-fid and torch-fidelity."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.extractor import FeatureExtractor, weights_hash


class InceptionExtractor(FeatureExtractor):
    """The 2048 pooled features of Inception v3 as trained for TensorFlow in 2015.

    The usual published FID scales with another filter than Loom's, so it is close to this one and not equal.
    """

    kind = "inception"
    title = "Inception v3 of FID"
    source_help = "a .safetensors or .pth file of the 2015 weights (pt_inception-2015-12-05)"

    def available(self) -> tuple[bool, str]:
        if not self.source:
            return False, "no weights are named: write inception:FILE"
        if not Path(self.source).is_file():
            return False, f"the weights {self.source} are not there"
        return True, ""

    @cached_property
    def _model(self) -> object:
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from lora_loom.studio.evaluation.extractors.vision import device
        from lora_loom.studio.evaluation.inception import FidInception

        self.require_available()
        try:
            if self.source.endswith(".safetensors"):
                state = load_file(self.source)
            else:
                state = torch.load(self.source, map_location="cpu", weights_only=True)
            model = FidInception()
            model.load_weights(state)
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise EvaluationError(
                f"{self.source} does not hold the weights of FID's Inception", found=str(error)[:200]
            ) from error
        return model.to(device()).eval()

    @cached_property
    def version(self) -> str:
        return weights_hash(self._model)  # pyright: ignore[reportArgumentType]

    @property
    def dim(self) -> int:
        return 2048

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        from lora_loom.studio.evaluation.extractors.vision import Preprocessing, run

        half = (0.5, 0.5, 0.5)
        return run(self._model, Preprocessing(299, "squash", half, half), pixels)  # pyright: ignore[reportArgumentType]
