"""FusionPipeline: what makes the diffusers pipelines of every family draw with several LoRAs at once."""

from __future__ import annotations

import importlib
import inspect
import json
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, wraps
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar

import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

from lora_loom.pipelines.bases import pipeline_class_of, resolve_base
from lora_loom.pipelines.errors import BaseModelError, LoomWarning, RequestError
from lora_loom.pipelines.families import fusion_class_name, of_pipeline, refused
from lora_loom.pipelines.families.family import Family
from lora_loom.pipelines.hub import only_cached
from lora_loom.pipelines.lora_verbs import LoraVerbs
from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan
from lora_loom.pipelines.plugins import did_you_mean
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
        if kwargs.get("enable_pag"):
            raise _no_pag()
        if not Path(location).exists() and only_cached():
            kwargs["local_files_only"] = True  # or else diffusers would try for half a minute to reach the hub
        hub = {key: kwargs[key] for key in _HUB_ARGUMENTS if key in kwargs}
        parent = cls._parent_of_family(pipeline_class_of(location, **hub), found_in=location)
        try:
            if Path(location).is_file():
                return _single_file(parent, location, kwargs)
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

        `scale` in `cross_attention_kwargs` (or `joint_attention_kwargs`) multiplies all their strengths. Inside `with
        fused(pipe, plan, adapters)` the picture follows that plan instead. Raises RequestError for an argument that the
        pipeline does not have.
        """
        parent: Any = super()
        _check_keywords(self, kwargs)
        scale, kwargs = _without_scale(kwargs)
        if is_fused(self):
            if scale != 1.0:
                raise RequestError(
                    "inside `with fused(...)` the plan has the strengths",
                    found=f"a scale of {scale:g} in the attention arguments",
                    remedy="Multiply the strengths of the plan by it.",
                )
            return parent.__call__(*args, **kwargs)
        call = inspect.signature(self.diffusers_class.__call__).bind(self, *args, **kwargs)
        call.apply_defaults()
        steps: int = call.arguments["num_inference_steps"]
        self._say_who_draws()
        with self._scaled(scale):
            plan = self.plan(fusion, fusion_settings, num_inference_steps=steps)
        if call.arguments.get("prompt_embeds") is not None:
            self._warn_of_embeddings(plan)
        with fused(self, plan, self.adapters, self.bank):
            return parent.__call__(*args, **kwargs)

    def encode_prompt(self, *args: Any, **kwargs: Any) -> Any:
        """The prompt encoded as diffusers encodes it, by text encoders with the active LoRAs added up.

        `lora_scale` multiplies their strengths.
        """
        parent: Any = super()
        if is_fused(self) or not any(self.adapters[choice.name].text_encoders for choice in self.loaded.choices):
            return parent.encode_prompt(*args, **kwargs)
        call = inspect.signature(self.diffusers_class.encode_prompt).bind(self, *args, **kwargs)
        scale = call.arguments.pop("lora_scale", None)
        with self._scaled(1.0 if scale is None else scale):
            plan = self.plan("merge", num_inference_steps=1)
        with fused(self, plan, self.adapters, self.bank):
            return self.encode_prompt(*call.args[1:], **call.kwargs)

    @contextmanager
    def _scaled(self, scale: float) -> Generator[None]:
        """The active LoRAs at `scale` times their strengths."""
        own = self.loaded.active
        try:
            self.loaded.active = {name: replace(each, strength=each.strength * scale) for name, each in own.items()}
            yield
        finally:
            self.loaded.active = own

    def _warn_of_embeddings(self, plan: FusionPlan) -> None:
        """Say so where LoRAs that are to read the prompt each for itself are given one that is encoded already."""
        reading = [name for name in plan.adapters if self.adapters[name].text_encoders]
        if reading and len({tuple(sorted(gates.items())) for gates in plan.text_passes}) > 1:
            warnings.warn(
                f"the prompt came as embeddings, so {', '.join(reading)} cannot read it each for itself as this method "
                "wants. Pass the prompt in words, or take a method that encodes it once, such as merge.",
                LoomWarning,
                stacklevel=3,
            )

    def save_pretrained(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """The base as a diffusers folder, which opens with and without Loom; says so where LoRAs are left out."""
        parent: Any = super()
        if self.loaded.adapters:
            warnings.warn(
                f"{save_directory} holds the base without {', '.join(self.loaded.adapters)}. Keep their files beside "
                "it, or make one file of them with `loom merge`.",
                LoomWarning,
                stacklevel=2,
            )
        parent.save_pretrained(save_directory, *args, **kwargs)

    @property
    def components(self) -> dict[str, Any]:
        """The models of the pipeline, as in diffusers; says so when another one is made of them without the LoRAs."""
        parent: Any = super()
        found: dict[str, Any] = parent.components
        here = inspect.currentframe()
        if self.loaded.active and here is not None and _takes_models(here.f_back):
            warnings.warn(
                f"the pipeline made of this one draws without {', '.join(self.loaded.active)}. Draw inside `with "
                "fused(other, pipe.plan(), pipe.adapters, pipe.bank)`, or load the LoRAs into it.",
                LoomWarning,
                stacklevel=3,
            )
        return found


def _takes_models(caller: FrameType | None) -> bool:
    """Whether diffusers is asking for the models to make a plain pipeline of them, which nothing else tells."""
    if caller is None or not str(caller.f_globals.get("__name__", "")).startswith("diffusers."):
        return False
    kind = caller.f_locals.get("cls")
    return caller.f_code.co_name == "from_pipe" and not (isinstance(kind, type) and issubclass(kind, FusionPipeline))


def _check_keywords(pipe: FusionPipeline, kwargs: Mapping[str, Any]) -> None:
    """Raise RequestError for an argument that the pipeline would swallow."""
    parameters = inspect.signature(pipe.diffusers_class.__call__).parameters
    known = [name for name, each in parameters.items() if each.kind is not each.VAR_KEYWORD and name != "self"]
    for name in kwargs:
        if name in known or name in ("callback", "callback_steps"):  # deprecated, and still taken by some
            continue
        raise RequestError(
            f"{type(pipe).__name__} has no argument {name!r}",
            expected=f"one of {', '.join((*known, 'fusion', 'fusion_settings'))}",
            found=f"{name}={kwargs[name]!r}"[:100],
            remedy=did_you_mean(name, (*known, "fusion", "fusion_settings")),
        )


def _without_scale(kwargs: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    """The scale of the LoRAs in a call's attention arguments, and the call without it."""
    scale, rest = 1.0, dict(kwargs)
    for name in ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs"):
        given: Mapping[str, Any] | None = rest.get(name)
        if given and "scale" in given:
            scale *= float(given["scale"])
            left = {key: value for key, value in given.items() if key != "scale"}
            rest[name] = left or None
    return scale, rest


def _single_file(parent: Any, location: str, kwargs: dict[str, Any]) -> Any:
    """The pipeline of a checkpoint in one file. Its configuration comes from `config` or the hub."""
    if "config" not in kwargs and "original_config" not in kwargs and only_cached():
        kwargs = {"local_files_only": True, **kwargs}
        try:
            return parent.from_single_file(location, **kwargs)
        except (OSError, ValueError) as error:
            raise BaseModelError(
                f"{Path(location).name} cannot be opened without its configuration",
                expected="the configuration and tokenizers of its family, which a checkpoint in one file lacks",
                found="none given, none on this machine, and the hub cannot be reached",
                remedy="Give a diffusers folder of the family as config=FOLDER; of that no weights are read.",
            ) from error
    return parent.from_single_file(location, **kwargs)


def _no_pag() -> RequestError:
    return RequestError(
        "perturbed-attention guidance is not offered with fusion methods",
        expected="a pipeline of one of the families as it is",
        found="enable_pag=True",
        remedy="Load the LoRAs into diffusers' own PAG pipeline, by AutoPipelineForText2Image.",
    )


def fusion_class(family: Family) -> Any:
    """The fusion pipeline of a family, a subclass of what diffusers draws it with; relatives share theirs."""
    parent: Any = getattr(importlib.import_module("diffusers"), family.pipelines.text)
    return _fusion_class(parent)


@cache
def _fusion_class(parent: type[Any]) -> Any:
    name, module = fusion_class_name(parent.__name__), "lora_loom.pipelines.families"
    doc = f"{parent.__name__} of diffusers, drawing with several LoRAs at once."

    @wraps(parent.encode_prompt)  # callers look at its signature
    def encode_prompt(self: FusionPipeline, *args: Any, **kwargs: Any) -> Any:
        return FusionPipeline.encode_prompt(self, *args, **kwargs)

    own = {"__doc__": doc, "__module__": module, "diffusers_class": parent, "encode_prompt": encode_prompt}
    made = type(name, (FusionPipeline, parent), own)
    auto: Any = importlib.import_module("diffusers.pipelines.auto_pipeline")
    for kind, each in auto.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.items():
        if each is parent:  # so that AutoPipelineForImage2Image.from_pipe finds what belongs to it
            auto.SUPPORTED_TASKS_MAPPINGS.append({kind: made})
    return made
