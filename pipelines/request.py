"""GenerationRequest: everything that determines a picture, as plain data that survives JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import RequestError, SettingError
from lora_loom.pipelines.requests.adapter_choice import AdapterChoice
from lora_loom.pipelines.requests.checks import check_text, known_keys, show
from lora_loom.pipelines.requests.fields import RequestField, request_fields
from lora_loom.pipelines.schedulers import DEFAULT, DIFFUSION

SettingValue: TypeAlias = int | float | str | bool

MAX_PROMPT_CHARACTERS = 20_000
MAX_ADAPTERS = 64
MAX_STEPS = 1_000
MAX_ABSOLUTE_GUIDANCE = 100.0
MAX_SIDE = 8_192  # pixels
MAX_IMAGES = 256
MAX_MASKS = 500_000  # characters of all painted masks: a record has to fit into a text of a PNG
ALWAYS_WRITTEN = frozenset(  # into JSON, as version 0.1 did
    "prompt negative_prompt adapters method settings base_model scheduler num_inference_steps guidance_scale width"
    " height num_images_per_prompt seed".split()
)
MAX_SEED = 2**63 - 1  # torch.Generator takes a signed 64-bit integer


def declared_fields() -> Mapping[str, RequestField]:
    """What is declared of the fields of GenerationRequest, by name."""
    return request_fields(GenerationRequest)


def _side(label: str) -> RequestField:
    return RequestField(
        label,
        "In pixels (the base model's own size).",
        minimum=1,
        maximum=MAX_SIDE,
        hint="own",
        flag="size",
        names={"a1111": "Size"},
        element=f"loom-{label}",
    )


def _no_settings() -> Mapping[str, SettingValue]:
    return MappingProxyType({})


@dataclass(frozen=True)
class GenerationRequest:
    """All that determines the pictures of one run; two equal requests on one machine give equal pixels.

    `settings` are those of the fusion method `method`. `width` and `height` are in pixels, None for the base's own.
    Image k of the run is drawn from seed + k. Raises RequestError, or SettingError for `settings`.
    """

    prompt: str = field(
        metadata=RequestField(
            "Prompt",
            "What to draw.",
            longest=MAX_PROMPT_CHARACTERS,
            hint="What should the picture show? (Shift+Enter draws it)",
            group="words",
            suite="prompts",
            names={"a1111": "Prompt"},
        ).metadata
    )
    negative_prompt: str = field(
        default="",
        metadata=RequestField(
            "Negative prompt",
            "What to keep out of the picture.",
            longest=MAX_PROMPT_CHARACTERS,
            hint="What it should not show",
            flag="negative",
            names={"a1111": "Negative prompt"},
        ).metadata,
    )
    adapters: tuple[AdapterChoice, ...] = field(
        default=(),
        metadata=RequestField(
            "LoRAs",
            "A LoRA of the library; repeatable.",
            group="loras",
            flag="lora",
            metavar="NAME:STRENGTH",
            suite="lora_sets",
            names={"a1111": "Lora hashes"},
        ).metadata,
    )
    method: str = field(
        default="merge",
        metadata=RequestField(
            "Fusion method",
            "How LoRAs are fused: `loom methods` explains them ({default}).",
            group="method",
            suite="methods",
            names={"a1111": "LoRA fusion"},
        ).metadata,
    )
    settings: Mapping[str, SettingValue] = field(
        default_factory=_no_settings,
        metadata=RequestField(
            "Settings",
            "A setting of the method; repeatable.",
            group="method",
            flag="set",
            metavar="KEY=VALUE",
            suite="methods",
        ).metadata,
    )
    base_model: str = field(
        default="pocket",
        metadata=RequestField(
            "Base model",
            "Base model: a name, hub id, folder or file ({default}).",
            flag="base",
            suite="base_model",
            names={"a1111": "Model"},
            hidden=("form",),  # the studio draws with the base it was opened on
        ).metadata,
    )
    scheduler: str = field(
        default=DEFAULT,
        metadata=RequestField(
            "Sampler",
            "default, ddim, dpm++, euler, unipc ...",
            suggestions=(DEFAULT, *DIFFUSION),
            names={"a1111": "Sampler"},
        ).metadata,
    )
    num_inference_steps: int = field(
        default=20,
        metadata=RequestField(
            "Steps",
            "Denoising steps ({default}; bases of other families have their own).",
            minimum=1,
            maximum=MAX_STEPS,
            slider=(1, 60),
            step=1,
            group="sampling",
            flag="steps",
            names={"a1111": "Steps"},
        ).metadata,
    )
    guidance_scale: float = field(
        default=3.0,
        metadata=RequestField(
            "Guidance",
            "How strictly the prompt is followed ({default}; bases of other families have their own).",
            minimum=-MAX_ABSOLUTE_GUIDANCE,
            maximum=MAX_ABSOLUTE_GUIDANCE,
            slider=(0, 15),
            step=0.1,
            group="sampling",
            flag="guidance",
            names={"a1111": "CFG scale"},
        ).metadata,
    )
    width: int | None = field(default=None, metadata=_side("Width").metadata)
    height: int | None = field(default=None, metadata=_side("Height").metadata)
    num_images_per_prompt: int = field(
        default=1,
        metadata=RequestField(
            "Pictures",
            "Number of pictures ({default}).",
            minimum=1,
            maximum=MAX_IMAGES,
            group="seed",
            flag="count",
            suite="samples",
            hidden=("gallery",),  # it shows single pictures
        ).metadata,
    )
    seed: int = field(
        default=0,
        metadata=RequestField(
            "Seed",
            "Picture k of a run is drawn from seed + k, from k = 0 ({default}).",
            minimum=0,
            maximum=MAX_SEED - MAX_IMAGES,
            start=42,
            group="seed",
            suite="seeds",
            names={"a1111": "Seed"},
        ).metadata,
    )

    def __post_init__(self) -> None:
        check_text("prompt", self.prompt, maximum=MAX_PROMPT_CHARACTERS)
        if not self.prompt.strip():
            raise RequestError("the prompt is empty", expected="a description of the picture", remedy="write a prompt")
        for declared in declared_fields().values():
            object.__setattr__(self, declared.name, declared.checked(getattr(self, declared.name)))
        object.__setattr__(self, "adapters", _check_adapters(self.adapters))
        object.__setattr__(self, "settings", _check_settings(self.settings))

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[object, ...]:  # a mapping proxy does not pickle
        return GenerationRequest.from_dict, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """The request as JSON values, in the order of the fields; those after version 0.1 only where they do something.

        So an older Loom reads what it can draw, and the plan of a batch keeps the uids of its pictures.
        """
        data: dict[str, Any] = {
            name: value
            for name, declared in declared_fields().items()
            if (value := getattr(self, name)) != declared.default or name in ALWAYS_WRITTEN
        }
        return data | {"adapters": [choice.to_dict() for choice in self.adapters], "settings": dict(self.settings)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> GenerationRequest:
        """The request that `to_dict` gave; a key that no field has is an error, never dropped."""
        known = known_keys("request", data, tuple(item.name for item in fields(cls)), required=("prompt",))
        if "adapters" in known:
            entries = known["adapters"]
            if not isinstance(entries, list | tuple):
                raise RequestError("adapters is not a list", found=show(entries))
            known["adapters"] = tuple(AdapterChoice.from_dict(entry) for entry in cast("list[Any]", entries))
        return cls(**known)

    def to_json(self, *, indent: int | None = None) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> GenerationRequest:
        try:
            data = parse_json(text)
        except ValueError as error:
            raise RequestError("the request is not JSON", found=str(error)) from error
        return cls.from_dict(data)


def _check_adapters(adapters: object) -> tuple[AdapterChoice, ...]:
    if not isinstance(adapters, list | tuple):
        raise RequestError("adapters is not a sequence", expected="AdapterChoice entries", found=show(adapters))
    choices = tuple(cast("list[object]", adapters))
    if len(choices) > MAX_ADAPTERS:
        raise RequestError("too many adapters", expected=f"at most {MAX_ADAPTERS}", found=str(len(choices)))
    seen: set[str] = set()
    for choice in choices:
        if not isinstance(choice, AdapterChoice):
            raise RequestError("an adapter is not an AdapterChoice", found=show(choice))
        if choice.name in seen:
            raise RequestError(
                f"adapter {choice.name} was chosen twice", expected="each adapter once", remedy="add up the strengths"
            )
        seen.add(choice.name)
    masks = [choice.region.mask for choice in cast("tuple[AdapterChoice, ...]", choices) if choice.region]
    if sum(map(len, masks)) > MAX_MASKS:
        raise RequestError(
            "the painted masks of a request are too large together",
            expected=f"at most {MAX_MASKS:,} characters",
            found=f"{sum(map(len, masks)):,}",
            remedy="Use boxes, or masks with fewer pixels.",
        )
    return cast("tuple[AdapterChoice, ...]", choices)


def _check_settings(settings: object) -> Mapping[str, SettingValue]:
    if not isinstance(settings, Mapping):
        raise SettingError("settings is not a mapping", expected="setting names with values", found=show(settings))
    checked: dict[str, SettingValue] = {}
    for name, value in cast("Mapping[object, object]", settings).items():
        if not isinstance(name, str):
            raise SettingError("a setting has a name that is not text", found=show(name))
        if not isinstance(value, int | float | str | bool) or (isinstance(value, float) and not math.isfinite(value)):
            raise SettingError(
                f"setting {name} has no usable value",
                expected="a finite number, text or true/false",
                found=show(value),
            )
        checked[name] = value
    return MappingProxyType(checked)
