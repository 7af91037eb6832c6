"""Where a diffusers pipeline keeps the models that adapters act on, and how a call to its denoiser is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from lora_loom.pipelines.errors import BaseModelError


@dataclass(frozen=True)
class DenoiserSlot:
    """A denoiser as a pipeline holds it.

    `attribute` is its name in the pipeline, `called` the object the pipeline calls (a compiled wrapper, maybe), `model`
    the module itself, `sample` the name of its noisy input. The scheduler's timestep is `timestep_scale` times the
    denoiser's.
    """

    attribute: str
    called: Any
    model: nn.Module
    sample: str
    timestep_scale: float


def denoiser_of(pipe: Any) -> DenoiserSlot:
    """The UNet or transformer of a pipeline. Raises BaseModelError when it has neither."""
    for attribute in ("unet", "transformer"):
        called = getattr(pipe, attribute, None)
        if called is not None:
            model: nn.Module = getattr(called, "_orig_mod", called)
            sample = "sample" if attribute == "unet" else "hidden_states"
            # FLUX takes sigma in [0, 1] and multiplies by the scheduler's 1000 training timesteps itself
            scale = 1000.0 if type(model).__name__.startswith("Flux") else 1.0
            return DenoiserSlot(attribute, called, model, sample, scale)
    raise BaseModelError(
        "this pipeline has nothing that adapters could act on",
        expected="a diffusers pipeline with a unet or a transformer",
        found=type(pipe).__name__,
    )


def text_encoders_of(pipe: Any) -> dict[str, nn.Module]:
    """The text encoders a pipeline has, by their names in it."""
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    found = {name: getattr(pipe, name, None) for name in names}
    return {name: getattr(model, "_orig_mod", model) for name, model in found.items() if isinstance(model, nn.Module)}


def is_compiled(called: Any) -> bool:
    """Whether torch.compile was put on a model, on the whole of it or on repeated blocks."""
    model: nn.Module = getattr(called, "_orig_mod", called)
    return model is not called or any(getattr(each, "_compiled_call_impl", None) for each in model.modules())
