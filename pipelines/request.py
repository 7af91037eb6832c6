"""GenerationRequest: everything that determines a picture, as plain data that survives JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from pipelines.errors import RequestError, SettingError

SettingValue: TypeAlias = int | float | str | bool

MAX_PROMPT_CHARACTERS = 20_000
MAX_ADAPTERS = 64
MAX_ABSOLUTE_STRENGTH = 100.0
MAX_STEPS = 1_000
MAX_ABSOLUTE_GUIDANCE = 100.0
MAX_SIDE = 8_192  # pixels
MAX_IMAGES = 256
MAX_SEED = 2**63 - 1  # torch.Generator takes a signed 64-bit integer


@dataclass(frozen=True)
class AdapterChoice:
    """An adapter by its library name and the strength to use it with; 1 is as trained, negative steers away."""

    name: str
    strength: float = 1.0

    def __post_init__(self) -> None:
        _check_text("adapter name", self.name, maximum=512)
        if not self.name.strip():
            raise RequestError("an adapter was chosen without a name", remedy="name one that `loom library list` shows")
        strength = _check_number(
            f"strength of {self.name}", self.strength, -MAX_ABSOLUTE_STRENGTH, MAX_ABSOLUTE_STRENGTH
        )
        object.__setattr__(self, "strength", strength)

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "strength": self.strength}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AdapterChoice:
        return cls(**_known_keys("adapter", data, ("name", "strength"), required=("name",)))


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
        _check_text("prompt", self.prompt, maximum=MAX_PROMPT_CHARACTERS)
        if not self.prompt.strip():
            raise RequestError("the prompt is empty", expected="a description of the picture", remedy="write a prompt")
        _check_text("negative_prompt", self.negative_prompt, maximum=MAX_PROMPT_CHARACTERS)
        for name in ("method", "base_model", "scheduler"):
            value = _check_text(name, getattr(self, name), maximum=4_096)
            if not value.strip():
                raise RequestError(f"{name} is empty", expected="a name")
        object.__setattr__(self, "adapters", _check_adapters(self.adapters))
        object.__setattr__(self, "settings", _check_settings(self.settings))
        _check_integer("num_inference_steps", self.num_inference_steps, 1, MAX_STEPS)
        guidance = _check_number("guidance_scale", self.guidance_scale, -MAX_ABSOLUTE_GUIDANCE, MAX_ABSOLUTE_GUIDANCE)
        object.__setattr__(self, "guidance_scale", guidance)
        for name in ("width", "height"):
            if getattr(self, name) is not None:
                _check_integer(name, getattr(self, name), 1, MAX_SIDE)
        _check_integer("num_images_per_prompt", self.num_images_per_prompt, 1, MAX_IMAGES)
        _check_integer("seed", self.seed, 0, MAX_SEED - MAX_IMAGES)

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
        known = _known_keys("request", data, tuple(item.name for item in fields(cls)), required=("prompt",))
        if "adapters" in known:
            entries = known["adapters"]
            if not isinstance(entries, list | tuple):
                raise RequestError("adapters is not a list", found=_show(entries))
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


def _check_text(name: str, value: object, *, maximum: int) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{name} is not text", expected="a string", found=_show(value))
    if len(value) > maximum:
        raise RequestError(f"{name} is too long", expected=f"at most {maximum} characters", found=str(len(value)))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # a lone surrogate: no file and no tokenizer could hold it
        raise RequestError(f"{name} holds a broken character", found=f"position {error.start}") from error
    return value


def _check_integer(name: str, value: object, minimum: int, maximum: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        expected = f"a whole number from {minimum} to {maximum}"
        raise RequestError(f"{name} is out of range", expected=expected, found=_show(value))
    return value


def _check_number(name: str, value: object, minimum: float, maximum: float) -> float:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not sound or not minimum <= cast("float", value) <= maximum:
        raise RequestError(
            f"{name} is out of range", expected=f"a number from {minimum:g} to {maximum:g}", found=_show(value)
        )
    return float(cast("float", value))


def _check_adapters(adapters: object) -> tuple[AdapterChoice, ...]:
    if not isinstance(adapters, list | tuple):
        raise RequestError("adapters is not a sequence", expected="AdapterChoice entries", found=_show(adapters))
    choices = tuple(cast("list[object]", adapters))
    if len(choices) > MAX_ADAPTERS:
        raise RequestError("too many adapters", expected=f"at most {MAX_ADAPTERS}", found=str(len(choices)))
    seen: set[str] = set()
    for choice in choices:
        if not isinstance(choice, AdapterChoice):
            raise RequestError("an adapter is not an AdapterChoice", found=_show(choice))
        if choice.name in seen:
            raise RequestError(
                f"adapter {choice.name} was chosen twice", expected="each adapter once", remedy="add up the strengths"
            )
        seen.add(choice.name)
    return cast("tuple[AdapterChoice, ...]", choices)


def _check_settings(settings: object) -> Mapping[str, SettingValue]:
    if not isinstance(settings, Mapping):
        raise SettingError("settings is not a mapping", expected="setting names with values", found=_show(settings))
    checked: dict[str, SettingValue] = {}
    for name, value in cast("Mapping[object, object]", settings).items():
        if not isinstance(name, str):
            raise SettingError("a setting has a name that is not text", found=_show(name))
        if not isinstance(value, int | float | str | bool) or (isinstance(value, float) and not math.isfinite(value)):
            raise SettingError(
                f"setting {name} has no usable value",
                expected="a finite number, text or true/false",
                found=_show(value),
            )
        checked[name] = value
    return MappingProxyType(checked)


def _known_keys(what: str, data: object, names: tuple[str, ...], *, required: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise RequestError(f"a {what} is not an object", expected=f"keys {', '.join(names)}", found=_show(data))
    known = {str(key): value for key, value in cast("Mapping[object, Any]", data).items()}
    if unknown := sorted(set(known) - set(names)):
        raise RequestError(
            f"a {what} has unknown keys", expected=f"some of {', '.join(names)}", found=", ".join(unknown)
        )
    if missing := sorted(set(required) - set(known)):
        raise RequestError(f"a {what} lacks {', '.join(missing)}", expected=f"at least {', '.join(required)}")
    return known


def _show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
