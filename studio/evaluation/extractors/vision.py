"""What the extractors over torch models share: a device, batches, and pixels as the normalised input of a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.resize import Fit, resize

BATCH = 32


@dataclass(frozen=True)
class Preprocessing:
    """From uint8 pixels to a model's input: scaled and cut to `size`, then (x / 255 - mean) / std per channel."""

    size: int
    fit: Fit
    mean: Sequence[float]
    std: Sequence[float]
    shorter: int | None = None

    def __call__(self, pixels: NDArray[np.uint8]) -> Tensor:
        """uint8 [n h w 3] to float32 [n 3 size size]."""
        scaled = np.ascontiguousarray(resize(pixels, self.size, self.fit, shorter=self.shorter))
        x = torch.from_numpy(scaled).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (x - mean) / std


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def run(model: Callable[[Tensor], Tensor], preprocess: Preprocessing, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features [n d] of pixels [n h w 3], a few pictures at a time."""
    parts = [
        model(preprocess(pixels[start : start + BATCH]).to(device())).float().cpu().numpy()
        for start in range(0, len(pixels), BATCH)
    ]
    return np.concatenate(parts)


def preprocessing_of(source: str, default: Preprocessing) -> Preprocessing:
    """The preprocessing in `preprocessor_config.json` of a hub id or folder; `default` where it says nothing.

    Its size, crop, mean and deviation are followed; the filter is Loom's own, the one that results name.
    """
    from huggingface_hub import try_to_load_from_cache

    folder = Path(source)
    found = folder / "preprocessor_config.json" if folder.is_dir() else None
    if found is None and not source.startswith((".", "/")):
        cached = try_to_load_from_cache(source, "preprocessor_config.json")
        found = Path(cached) if isinstance(cached, str) else None
    if found is None or not found.is_file():
        return default
    config: Mapping[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return Preprocessing(
        size=_edge(config.get("crop_size"), default.size),
        fit=default.fit,
        mean=config.get("image_mean", default.mean),
        std=config.get("image_std", default.std),
        shorter=_edge(config.get("size"), default.shorter or default.size),
    )


def load_pretrained(kind: Any, source: str, extractor: str) -> Any:
    """A transformers model or tokenizer by hub id or folder; raises EvaluationError for what cannot be loaded."""
    try:
        return kind.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise EvaluationError(
            f"feature extractor {extractor} could not be loaded",
            expected="a folder, or a model id of the hub that is cached or can be fetched",
            found=str(error).splitlines()[0][:200],
        ) from error


def source_given(source: str, kind: str, example: str) -> tuple[bool, str]:
    """Whether a hub id or an existing folder was given."""
    if not source:
        return False, f"no model is named: write {kind}:{example}, or {kind}:FOLDER"
    if source.startswith((".", "/", "~")) and not Path(source).expanduser().is_dir():
        return False, f"the folder {source} is not there"
    return True, ""


def _edge(size: Any, default: int) -> int:
    """A size as the configurations write it: a number, or {shortest_edge}, or {height, width}."""
    if isinstance(size, Mapping):
        size = size.get("shortest_edge", size.get("height"))
    return int(size) if isinstance(size, int) else default
