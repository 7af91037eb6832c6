"""FeatureExtractor, the contract: uint8 pictures in, features out; one file in extractors/ holds one kind.

A kind is asked for as `KIND` or `KIND:SOURCE`, for example `clip:openai/clip-vit-base-patch32` or `dinov2:FOLDER`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.features import ExtractorInfo, TextFeatures
from lora_loom.studio.evaluation.resize import RESIZER

if TYPE_CHECKING:
    from torch import nn


class FeatureExtractor(ABC):
    """A model that looks at pictures.

    The model is loaded at first use. `dim` and `version` (a hash of the weights) need it, `available` does not.
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    source_help: ClassVar[str] = ""  # what stands after `KIND:`; empty for kinds that need nothing there
    has_text: ClassVar[bool] = False

    def __init__(self, source: str = "") -> None:
        self.source = source

    @property
    def id(self) -> str:
        """How it is asked for."""
        return f"{self.kind}:{self.source}" if self.source else self.kind

    @property
    def info(self) -> ExtractorInfo:
        """What results say about it; loads the model."""
        return ExtractorInfo(f"{self.id}@{self.version[:12]}", RESIZER, self.dim, self.has_text)

    @property
    @abstractmethod
    def version(self) -> str:
        """Hexadecimal hash of the weights."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of features."""

    @abstractmethod
    def available(self) -> tuple[bool, str]:
        """Whether it can be used here, and if not, why, without loading it."""

    @abstractmethod
    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 [n h w 3] of any size to features [n d], not normalised."""

    def embed_text(self, texts: Sequence[str]) -> TextFeatures:
        """Texts to features in the space of the pictures'; raises EvaluationError for models without a text tower."""
        raise EvaluationError(f"{self.id} has no text tower", remedy="Choose an extractor of the CLIP kind")

    def require_available(self) -> None:
        """Raise EvaluationError that says why it cannot be used."""
        usable, reason = self.available()
        if not usable:
            raise EvaluationError(f"feature extractor {self.id} is unavailable because {reason}")


def weights_hash(model: nn.Module) -> str:
    """SHA-256 of a model's parameters and buffers by name, the same on every machine and from every file format."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
