"""Where a diffusers pipeline keeps the models that adapters act on, and how a call to its denoiser is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

from torch import nn

from lora_loom.pipelines.adapters.target import family_of, layers_of
from lora_loom.pipelines.families import of_pipeline, refused
from lora_loom.pipelines.families.family import Family

_families: WeakKeyDictionary[nn.Module, Family | None] = WeakKeyDictionary()


@dataclass(frozen=True)
class DenoiserSlot:
    """A denoiser as a pipeline holds it.

    `attribute` is its name in the pipeline, `called` the object the pipeline calls (a compiled wrapper, maybe), `model`
    the module itself, `family` what is known of its kind.
    """

    attribute: str
    called: Any
    model: nn.Module
    family: Family


def denoiser_of(pipe: Any) -> DenoiserSlot:
    """The UNet or transformer of a pipeline. Raises BaseModelError for one of no family that Loom runs."""
    attribute, called = held_denoiser(pipe)
    model: nn.Module = getattr(called, "_orig_mod", called)
    family, found = family_of_model(model), type(pipe).__name__
    if family is None or not family.runs:
        known = of_pipeline(found) if family is None else (family,)
        raise refused("this pipeline", f"{found} with a {model.__class__.__name__}", known)
    return DenoiserSlot(attribute, called, model, family)


def held_denoiser(pipe: Any) -> tuple[str, Any]:
    """The name and the object that a pipeline calls its denoiser by, of whatever kind."""
    for attribute in ("unet", "transformer"):
        called = getattr(pipe, attribute, None)
        if called is not None:
            return attribute, called
    found = type(pipe).__name__
    raise refused("this pipeline", f"{found} without a unet or a transformer", of_pipeline(found))


def family_of_model(model: nn.Module) -> Family | None:
    """The family of a denoiser by its class and layers, looked at once; None for one of no family."""
    if model not in _families:
        _families[model] = family_of(model, {"denoiser": layers_of(model)})
    return _families[model]


def text_encoders_of(pipe: Any) -> dict[str, nn.Module]:
    """The text encoders that a pipeline of this family has, by their names in it."""
    names = [each.component for each in denoiser_of(pipe).family.text_encoders]
    found = {name: getattr(pipe, name, None) for name in names}
    return {name: getattr(model, "_orig_mod", model) for name, model in found.items() if isinstance(model, nn.Module)}


def own_latents(pipe: Any) -> tuple[int, int]:
    """Rows and columns of latents that the pipeline draws unless told otherwise."""
    slot = denoiser_of(pipe)
    own: Any = getattr(pipe, "default_sample_size", None) or getattr(slot.model.config, "sample_size", None)
    if own is None:
        own = slot.family.sizes.trained[0] // pipe.vae_scale_factor
    rows, columns = cast("list[int]", own if isinstance(own, list | tuple) else [own, own])
    return rows, columns


def is_compiled(called: Any) -> bool:
    """Whether torch.compile was put on a model, on the whole of it or on repeated blocks."""
    model: nn.Module = getattr(called, "_orig_mod", called)
    return model is not called or any(getattr(each, "_compiled_call_impl", None) for each in model.modules())
