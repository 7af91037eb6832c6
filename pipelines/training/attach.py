"""A PEFT LoRA on the denoiser, and on the text encoders if wanted, for as long as the training lasts."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from diffusers.training_utils import cast_training_params
from diffusers.utils.peft_utils import recurse_remove_peft_layers  # pyright: ignore[reportUnknownVariableType]
from peft import (
    LoraConfig,
    get_peft_model_state_dict,  # pyright: ignore[reportUnknownVariableType]
    inject_adapter_in_model,
)
from torch import Tensor, nn

from lora_loom.pipelines.training.base_model import text_encoders
from lora_loom.pipelines.training.settings import LoraTraining
from lora_loom.pipelines.training.targets import denoiser_targets, text_encoder_targets

ADAPTER = "loom"


@contextmanager
def attached_lora(pipe: Any, settings: LoraTraining) -> Generator[dict[str, nn.Module]]:
    """A fresh LoRA (A random, B zero) on the base; yields the carrying components by name, takes it off at the end."""
    components: dict[str, nn.Module] = {"unet": pipe.unet}
    if settings.text_encoder_learning_rate > 0:
        components |= text_encoders(pipe)
    try:
        for name, module in components.items():
            find = denoiser_targets if name == "unet" else text_encoder_targets
            config = LoraConfig(
                r=settings.rank,
                lora_alpha=cast("int", settings.lora_alpha),
                target_modules=find(module, settings.targets),
            )
            inject_adapter_in_model(config, module, adapter_name=ADAPTER)
            cast_training_params(module, dtype=torch.float32)
        yield components
    finally:
        for module in components.values():
            detach(module)


def detach(module: nn.Module) -> None:
    """Take every PEFT layer off a module and forget that it had any."""
    recurse_remove_peft_layers(module)
    if hasattr(module, "peft_config"):
        del module.peft_config
    if hasattr(module, "_hf_peft_config_loaded"):
        setattr(module, "_hf_peft_config_loaded", False)  # noqa: B010 - torch types no other attributes


def lora_parameters(components: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """The trained parameters by component and name, in a fixed order."""
    return {
        f"{component}.{name}": value
        for component, module in components.items()
        for name, value in module.named_parameters()
        if value.requires_grad
    }


def lora_tensors(components: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The trained factors in float32 on the CPU as `unet.<module>.lora_A.weight` and so on, alpha / rank within B."""
    tensors: dict[str, Tensor] = {}
    for component, module in components.items():
        config = cast("dict[str, LoraConfig]", module.peft_config)[ADAPTER]
        scale = config.lora_alpha / config.r
        for key, value in get_peft_model_state_dict(module, adapter_name=ADAPTER).items():
            factor = value.detach().float().cpu().clone()
            tensors[f"{component}.{key}"] = factor * scale if ".lora_B." in key else factor
    return tensors
