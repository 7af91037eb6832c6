"""Begin a training from an existing LoRA instead of from nothing: its factors become the first weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.attach import ADAPTER
from lora_loom.pipelines.training.settings import LoraTraining


def start_from(path: Path, target: BaseTarget, components: Mapping[str, nn.Module], settings: LoraTraining) -> None:
    """Copy the LoRA at `path`, in any dialect, into the attached one.

    TrainingError where it has layers that `settings` does not train or another rank; layers that it lacks start as
    nothing. A DoRA, and what the reader itself refuses, stay an AdapterMatchError or AdapterFileError.
    """
    adapter = load_adapter(path, name=path.stem, target=target)
    adapter.check_additive()
    scale = settings.lora_alpha / settings.rank
    for component, factors in adapter.components.items():
        module = components.get("unet" if component == "denoiser" else component)
        if module is None:
            raise TrainingError(
                f"{path.name} has a part on {component}, which this training leaves alone",
                remedy="set text_encoder_learning_rate, or start from a LoRA of the denoiser alone",
            )
        for name, each in factors.items():
            layer = cast("Any", _layer(module, name, path, settings))
            if each.rank != settings.rank:
                raise TrainingError(
                    f"{path.name} has another rank", expected=f"rank {settings.rank}", found=f"{each.rank} in {name}"
                )
            down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
            with torch.no_grad():
                down.copy_(each.down.reshape(down.shape))
                up.copy_((each.up / scale).reshape(up.shape))


def _layer(module: nn.Module, name: str, path: Path, settings: LoraTraining) -> nn.Module:
    layer = module.get_submodule(name)
    if not hasattr(layer, "lora_A"):
        raise TrainingError(
            f"{path.name} changes a layer that this training does not",
            expected=f"layers of the targets {settings.targets}",
            found=name,
            remedy="train with the targets it was trained with, such as full",
        )
    return layer
