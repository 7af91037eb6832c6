"""GenerationRequest: everything that determines a picture, as plain data that survives JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from lora_loom.pipelines.control import Curve, Region, check_blocks, check_curve
from lora_loom.pipelines.errors import RequestError, SettingError
from lora_loom.pipelines.request_checks import check_integer, check_number, check_text, known_keys, show

SettingValue: TypeAlias = int | float | str | bool

MAX_PROMPT_CHARACTERS = 20_000
MAX_ADAPTERS = 64
MAX_ABSOLUTE_STRENGTH = 100.0
MAX_STEPS = 1_000
MAX_ABSOLUTE_GUIDANCE = 100.0
MAX_SIDE = 8_192  # pixels
MAX_IMAGES = 256
MAX_MASKS = 500_000  # characters of all painted masks: a record has to fit into a text of a PNG
MAX_SEED = 2**63 - 1  # torch.Generator takes a signed 64-bit integer


def _no_blocks() -> Mapping[str, float]:
    return MappingProxyType({})


@dataclass(frozen=True)
class AdapterChoice:
    """An adapter by its library name and how it is to act; strength 1 is as trained, negative steers away.

    Every method keeps to the rest, which does nothing by default. `blocks` scales the strength in groups of layers
    (structure, identity, style, text, ...: pipelines/runtime/block_groups.py). `curve` scales it over the progress of
    the run: points (progress in [0, 1], factor), linear in between. `region` is where in the picture it acts. An
    `exempt` adapter takes no part in the fusion: it acts in every pass at its strength, as distilled models and sliders
    want it. Raises RequestError for values that mean nothing.
    """

    name: str
    strength: float = 1.0
    blocks: Mapping[str, float] = field(default_factory=_no_blocks)
    curve: Curve = ()
    region: Region | None = None
    exempt: bool = False

    def __post_init__(self) -> None:
        check_text("adapter name", self.name, maximum=512)
        if not self.name.strip():
            raise RequestError("an adapter was chosen without a name", remedy="name one that `loom library list` shows")
        strength = check_number(
            f"strength of {self.name}", self.strength, -MAX_ABSOLUTE_STRENGTH, MAX_ABSOLUTE_STRENGTH
        )
        object.__setattr__(self, "strength", strength)
        object.__setattr__(self, "blocks", check_blocks(self.name, self.blocks))
        object.__setattr__(self, "curve", check_curve(self.name, self.curve))
        if self.region is not None and not isinstance(self.region, Region):  # pyright: ignore[reportUnnecessaryIsInstance] - from JSON or a notebook
            raise RequestError(f"the region of {self.name} is not a Region", found=show(self.region))
        if self.region is not None and self.region.neutral:
            object.__setattr__(self, "region", None)
        if not isinstance(self.exempt, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RequestError(f"exempt of {self.name} is neither true nor false", found=show(self.exempt))
        if self.exempt and self.region is not None and self.region.prompt:
            raise RequestError(
                f"{self.name} is exempt from the fusion and has a region with a prompt of its own",
                expected="one of the two",
                remedy="An exempt adapter acts in every pass, that of each region too: leave the prompt out.",
            )

    def __hash__(self) -> int:
        return hash(json.dumps(self.to_dict()))

    def __reduce__(self) -> tuple[object, ...]:  # a mapping proxy does not pickle
        return AdapterChoice.from_dict, (self.to_dict(),)

    @property
    def controlled(self) -> bool:
        """Whether anything but the strength was asked for."""
        return bool(self.blocks or self.curve or self.region or self.exempt)

    def to_dict(self) -> dict[str, Any]:
        """The choice as JSON values; what does nothing is left out."""
        data: dict[str, Any] = {"name": self.name, "strength": self.strength}
        if self.blocks:
            data["blocks"] = dict(self.blocks)
        if self.curve:
            data["curve"] = [list(point) for point in self.curve]
        if self.region is not None:
            data["region"] = self.region.to_dict()
        if self.exempt:
            data["exempt"] = True
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AdapterChoice:
        known = known_keys("adapter", data, tuple(item.name for item in fields(cls)), required=("name",))
        if known.get("region") is not None:
            known["region"] = Region.from_dict(known["region"])
        return cls(**known)


def _no_settings() -> Mapping[str, SettingValue]:
    return MappingProxyType({})


@dataclass(frozen=True)
class GenerationRequest:
    """All that determines the pictures of one run; two equal requests on one machine give equal pixels.

    `settings` are those of the fusion method `method`. `width` and `height` are in pixels, None for the base's own.
    Image k of the run is drawn from seed + k. Raises RequestError, or SettingError for `settings`.
    """

    prompt: str
    negative_prompt: str = ""
    adapters: tuple[AdapterChoice, ...] = ()
    method: str = "merge"
    settings: Mapping[str, SettingValue] = field(default_factory=_no_settings)
    base_model: str = "pocket"
    scheduler: str = "default"
    num_inference_steps: int = 20
    guidance_scale: float = 3.0
    width: int | None = None
    height: int | None = None
    num_images_per_prompt: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_text("prompt", self.prompt, maximum=MAX_PROMPT_CHARACTERS)
        if not self.prompt.strip():
            raise RequestError("the prompt is empty", expected="a description of the picture", remedy="write a prompt")
        check_text("negative_prompt", self.negative_prompt, maximum=MAX_PROMPT_CHARACTERS)
        for name in ("method", "base_model", "scheduler"):
            value = check_text(name, getattr(self, name), maximum=4_096)
            if not value.strip():
                raise RequestError(f"{name} is empty", expected="a name")
        object.__setattr__(self, "adapters", _check_adapters(self.adapters))
        object.__setattr__(self, "settings", _check_settings(self.settings))
        check_integer("num_inference_steps", self.num_inference_steps, 1, MAX_STEPS)
        guidance = check_number("guidance_scale", self.guidance_scale, -MAX_ABSOLUTE_GUIDANCE, MAX_ABSOLUTE_GUIDANCE)
        object.__setattr__(self, "guidance_scale", guidance)
        for name in ("width", "height"):
            if getattr(self, name) is not None:
                check_integer(name, getattr(self, name), 1, MAX_SIDE)
        check_integer("num_images_per_prompt", self.num_images_per_prompt, 1, MAX_IMAGES)
        check_integer("seed", self.seed, 0, MAX_SEED - MAX_IMAGES)

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[object, ...]:  # a mapping proxy does not pickle
        return GenerationRequest.from_dict, (self.to_dict(),)

    def to_dict(self) -> dict[str, Any]:
        """The request as JSON values, in the order of the fields."""
        data = {item.name: getattr(self, item.name) for item in fields(self)}
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
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
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
