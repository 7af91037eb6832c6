"""The base that is trained on: opened, checked, frozen for the time of the training, and given back as it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from torch import nn

from lora_loom.pipelines.bases import pipeline_class_of, resolve_base
from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.training.settings import LoraTraining

WEIGHT_TYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PIPELINES = (StableDiffusionPipeline, StableDiffusionXLPipeline)
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


@contextmanager
def opened_base(base: str | Path | Any, settings: LoraTraining, device: torch.device) -> Generator[Any]:
    """A plain diffusers pipeline of the base on `device`, every weight frozen.

    A pipeline that was passed in lends its networks and has them back unchanged.
    """
    pipe = _load(base, settings) if isinstance(base, str | Path) else _plain(base)
    check_base(pipe)
    modules = networks(pipe)
    trainable = [value for module in modules for value in module.parameters() if value.requires_grad]
    modes = [(module, module.training, next(module.parameters()).device) for module in modules]
    try:
        pipe.to(device)
        pipe.set_progress_bar_config(disable=True)
        for module in modules:
            module.requires_grad_(False)
        if settings.gradient_checkpointing:
            pipe.unet.enable_gradient_checkpointing()
        yield pipe
    finally:
        if settings.gradient_checkpointing:
            pipe.unet.disable_gradient_checkpointing()
        for value in trainable:
            value.requires_grad_(True)
        for module, mode, home in modes:
            module.train(mode).to(home)


def check_base(pipe: Any) -> None:
    """Refuse what the trainer cannot train on: inpainting U-Nets, and bases that already carry adapters."""
    unet: UNet2DConditionModel = pipe.unet
    vae = pipe.vae
    channels = (int(unet.config["in_channels"]), int(vae.config["latent_channels"]))
    if channels[0] != channels[1]:
        raise BaseModelError(
            "this U-Net does not draw from noise alone",
            expected=f"{channels[1]} input channels, as many as the autoencoder makes",
            found=f"{channels[0]}, as inpainting models have",
        )
    if carrying := [type(module).__name__ for module in networks(pipe) if getattr(module, "peft_config", None)]:
        raise BaseModelError(
            "the base already carries adapters",
            found=f"adapters on {', '.join(carrying)}",
            remedy="unload them first (`pipe.unload_lora_weights()`), or pass the base by its name",
        )


def text_encoders(pipe: Any) -> dict[str, nn.Module]:
    """The pipeline's text encoders by component name."""
    return {name: encoder for name in TEXT_ENCODERS if (encoder := getattr(pipe, name, None)) is not None}


def networks(pipe: Any) -> list[nn.Module]:
    """All networks of the pipeline that take part in training."""
    return [pipe.unet, pipe.vae, *text_encoders(pipe).values()]


def base_name(base: str | Path | Any) -> str:
    """What the base is called, without the folder it lies in."""
    return Path(base if isinstance(base, str | Path) else base.name_or_path or type(base).__name__).name


def picture_size(pipe: Any, settings: LoraTraining) -> int:
    """Side of the training pictures in pixels; BaseModelError where the latents cannot have it."""
    scale = int(pipe.vae_scale_factor)
    size = settings.resolution or int(pipe.unet.config["sample_size"]) * scale
    multiple = scale * 2 ** (len(pipe.unet.config["block_out_channels"]) - 1)
    if size % multiple:
        raise BaseModelError(
            "the base cannot draw pictures of this size",
            expected=f"a resolution that is a multiple of {multiple}",
            found=str(size),
        )
    return size


def _load(base: str | Path, settings: LoraTraining) -> Any:
    location = resolve_base(base)
    name = pipeline_class_of(location)
    kind: Any = next((kind for kind in PIPELINES if kind.__name__ == name), None)
    if kind is None:
        raise _unknown_kind(name)
    dtype = WEIGHT_TYPES[settings.mixed_precision]
    try:
        if Path(location).is_file():
            return kind.from_single_file(location, torch_dtype=dtype)
        dtypes = {"default": dtype, "vae": torch.float32}  # pictures are encoded once, and with all their detail
        return kind.from_pretrained(location, torch_dtype=dtypes, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"the base {base} cannot be opened", found=str(error)) from error


def _plain(pipe: Any) -> Any:
    """diffusers' own pipeline around the networks of this one, which may be a subclass with more to it."""
    if isinstance(pipe, StableDiffusionXLPipeline):
        return StableDiffusionXLPipeline(**pipe.components)
    if isinstance(pipe, StableDiffusionPipeline):
        return StableDiffusionPipeline(**pipe.components, requires_safety_checker=False)
    raise _unknown_kind(type(pipe).__name__)


def _unknown_kind(found: str) -> BaseModelError:
    return BaseModelError(
        "the trainer does not know this kind of base",
        expected="a Stable Diffusion 1, 2 or XL pipeline",
        found=found,
    )
