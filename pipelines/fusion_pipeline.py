"""FusionPipeline: what makes the diffusers pipelines of every family draw with several LoRAs at once."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from lora_loom.pipelines.bases import pipeline_class_of, resolve_base
from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.families import fusion_class_name, of_pipeline, refused
from lora_loom.pipelines.families.family import Family
from lora_loom.pipelines.lora_verbs import LoraVerbs
from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import SettingValue
from lora_loom.pipelines.runtime.fused import fused, is_fused

_HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "token")


class FusionPipeline(LoraVerbs):
    """A diffusers pipeline that draws with several LoRAs at once, by any fusion method.

        pipe = FusionPipeline.from_pretrained("pocket")          # a name, a folder, a .safetensors file or a hub id
        pipe.load_lora_weights("fox.safetensors", adapter_name="fox")
        pipe.load_lora_weights("ink.safetensors", adapter_name="ink")
        pipe.set_adapters(["fox", "ink"], [1.0, 0.8])
        pipe("a fox in a forest", fusion="switch", fusion_settings={"switch_every": 4}).images[0]

    The classes of the families are diffusers' pipelines in everything else, and convert to and from them by
    `from_pipe`. To use the LoRAs with another pipeline of the same models (img2img, ControlNet):
    `with fused(other, pipe.plan("switch"), pipe.adapters, pipe.bank): other(...)`.
    """

    diffusers_class: ClassVar[type[Any]]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Any:
        """The base model as the pipeline of its family; arguments as in diffusers, safetensors only by default.

        Raises BaseModelError when there is no such base, or it is of no family that Loom runs.
        """
        location = resolve_base(pretrained_model_name_or_path)
        hub = {key: kwargs[key] for key in _HUB_ARGUMENTS if key in kwargs}
        parent = cls._parent_of_family(pipeline_class_of(location, **hub), found_in=location)
        try:
            if Path(location).is_file():
                return parent.from_single_file(location, **kwargs)
            if not {"dtype", "torch_dtype"} & kwargs.keys():
                kwargs["dtype"] = torch.float32  # left alone, transformers would keep a half-precision file as it is
            return parent.from_pretrained(location, **{"use_safetensors": True, **kwargs})
        except (OSError, ValueError) as error:
            raise BaseModelError(
                f"the base model {pretrained_model_name_or_path} could not be loaded",
                expected="all parts of the pipeline, as safetensors",
                found=str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__,
            ) from error

    @classmethod
    def from_pipe(cls, pipeline: Any, **kwargs: Any) -> Any:
        """The family's pipeline around the models of another pipeline, sharing them; brings its loaded LoRAs along."""
        kind: str = type(pipeline).__name__
        made = cls._parent_of_family(kind, found_in=kind).from_pipe(pipeline, **kwargs)
        if isinstance(pipeline, FusionPipeline):
            made.loaded.adapters |= pipeline.loaded.adapters
            made.loaded.active |= pipeline.loaded.active
        return made

    @classmethod
    def _parent_of_family(cls, diffusers_class: str, *, found_in: str) -> Any:
        """What diffusers itself can do for the fusion class of that pipeline.

        Raises BaseModelError if there is none.
        """
        own = (
            diffusers_class.removesuffix("FusionPipeline") + "Pipeline"
            if diffusers_class.endswith("FusionPipeline")
            else diffusers_class
        )
        known = of_pipeline(own)
        drawing = [family for family in known if family.runs and family.pipelines.text == own]
        if not drawing and any(family.runs for family in known):
            raise BaseModelError(
                f"{found_in} draws from more than a prompt, and there is no fusion pipeline of that kind",
                expected=" or ".join(dict.fromkeys(family.pipelines.text for family in known)),
                found=diffusers_class,
                remedy="It runs in `with fused(pipe, plan, adapters)`, though.",
            )
        if not drawing:
            raise refused(found_in, diffusers_class, known)
        family = fusion_class(drawing[0])
        if not issubclass(family, cls):
            raise BaseModelError(
                f"{found_in} is of another family",
                expected=cls.diffusers_class.__name__,
                found=diffusers_class,
                remedy="FusionPipeline takes the class that fits.",
            )
        return super(FusionPipeline, family)  # pyright: ignore[reportArgumentType] - a subclass, checked above

    @classmethod
    def _get_signature_types(cls) -> dict[str, tuple[type[Any], ...]]:
        """What diffusers takes the parts for: a tiny autoencoder (TAESD, the pocket base) is as good as a KL one."""
        parent: Any = super()
        types: dict[str, tuple[type[Any], ...]] = parent._get_signature_types()
        return {**types, "vae": (*types["vae"], AutoencoderTiny)}

    def to_json_string(self) -> str:
        """The pipeline's config as diffusers would write it, so that a saved folder opens without Loom, too."""
        parent: Any = super()
        config = json.loads(parent.to_json_string())
        return json.dumps({**config, "_class_name": self.diffusers_class.__name__}, indent=2) + "\n"

    def plan(
        self,
        fusion: str | FusionMethod = "merge",
        fusion_settings: Mapping[str, SettingValue] | None = None,
        *,
        num_inference_steps: int = 50,
    ) -> FusionPlan:
        """The plan of a method for the active LoRAs. Raises UnknownMethodError and SettingError."""
        method = create(fusion, fusion_settings) if isinstance(fusion, str) else fusion
        return method.plan(self.loaded.choices, num_inference_steps)

    def __call__(
        self,
        *args: Any,
        fusion: str | FusionMethod = "merge",
        fusion_settings: Mapping[str, SettingValue] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Draw as the family's diffusers pipeline does, with the active LoRAs composed by the method `fusion`.

        Inside `with fused(pipe, plan, adapters)` the picture follows that plan instead.
        """
        parent: Any = super()
        if is_fused(self):
            return parent.__call__(*args, **kwargs)
        call = inspect.signature(self.diffusers_class.__call__).bind(self, *args, **kwargs)
        call.apply_defaults()
        plan = self.plan(fusion, fusion_settings, num_inference_steps=call.arguments["num_inference_steps"])
        with fused(self, plan, self.adapters, self.bank):
            return parent.__call__(*args, **kwargs)


def fusion_class(family: Family) -> Any:
    """The fusion pipeline of a family, a subclass of what diffusers draws it with; relatives share theirs."""
    parent: Any = getattr(importlib.import_module("diffusers"), family.pipelines.text)
    return _fusion_class(parent)


@cache
def _fusion_class(parent: type[Any]) -> Any:
    name, module = fusion_class_name(parent.__name__), "lora_loom.pipelines.families"
    doc = f"{parent.__name__} of diffusers, drawing with several LoRAs at once."
    return type(name, (FusionPipeline, parent), {"__doc__": doc, "__module__": module, "diffusers_class": parent})
