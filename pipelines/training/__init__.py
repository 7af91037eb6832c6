"""Training LoRAs, gates and sliders: one loop, exact to resume; what is trained is an Objective."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora_loom.pipelines.training.items import TrainingItem, read_folder
    from lora_loom.pipelines.training.loop import TrainingStep
    from lora_loom.pipelines.training.lora import TrainedLora, train_lora
    from lora_loom.pipelines.training.settings import LoraDescription, LoraTraining

__all__ = [
    "LoraDescription",
    "LoraTraining",
    "TrainedLora",
    "TrainingItem",
    "TrainingStep",
    "read_folder",
    "train_lora",
]

_MODULE_BY_NAME = {
    "LoraDescription": "settings",
    "LoraTraining": "settings",
    "TrainedLora": "lora",
    "TrainingItem": "items",
    "TrainingStep": "loop",
    "read_folder": "items",
    "train_lora": "lora",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that importing the package costs nothing."""
    if name not in _MODULE_BY_NAME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_BY_NAME[name]}"), name)
