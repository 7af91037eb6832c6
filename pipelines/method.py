"""FusionMethod: the contract of a way to compose adapters; one file in methods/ holds one subclass of it."""

from __future__ import annotations

import math
import typing
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lora_loom.pipelines.controlled_plan import controlled
from lora_loom.pipelines.errors import RequestError, SettingError
from lora_loom.pipelines.plan import FusionPlan

if TYPE_CHECKING:
    from lora_loom.pipelines.request import AdapterChoice, SettingValue


@dataclass(frozen=True)
class FusionMethod(ABC):
    """A method with its settings.

    A subclass is a frozen dataclass: its fields are the settings, typed int, float, bool, str or Literal, each with a
    default and `metadata={"help": ..., "min": ..., "max": ...}`, bounds inclusive. Construction checks them and raises
    SettingError.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]  # arXiv id, or what the method is known from
    when_to_use: ClassVar[str]  # one or two sentences for a person who chooses
    passes_per_step: ClassVar[str]  # denoiser passes for N adapters, e.g. "1" or "N"
    exact_for_one: ClassVar[bool] = True  # one adapter alone equals plain use of that adapter
    order_matters: ClassVar[bool]

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for setting in fields(self):
            checked = _checked(f"setting {setting.name} of {self.name}", setting, hints[setting.name], self)
            object.__setattr__(self, setting.name, checked)

    @property
    def settings(self) -> dict[str, SettingValue]:
        """The settings as JSON values; `registry.create(name, settings)` gives an equal method."""
        return asdict(self)

    def plan(self, adapters: Sequence[AdapterChoice], num_inference_steps: int) -> FusionPlan:
        """The plan for these adapters in the order chosen; none at all gives the base model's own plan.

        Raises RequestError when an adapter is named twice.
        """
        names = [choice.name for choice in adapters]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise RequestError(
                f"{', '.join(twice)} chosen more than once",
                expected="each adapter at most once",
                found=", ".join(names),
                remedy="Give one entry the sum of the strengths.",
            )
        return controlled(tuple(adapters), lambda fused: self.compose(fused, num_inference_steps))

    @classmethod
    def path_settings(cls) -> tuple[str, ...]:
        """The settings that may name a file (`path` in their metadata): names only where strangers ask."""
        return tuple(setting.name for setting in fields(cls) if setting.metadata.get("path"))

    @classmethod
    def former_settings(cls) -> dict[str, SettingValue]:
        """What pictures were drawn with before there was a setting (`formerly` in its metadata)."""
        return {setting.name: setting.metadata["formerly"] for setting in fields(cls) if "formerly" in setting.metadata}

    @abstractmethod
    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        """The plan for at least one adapter, all with different names, by their strengths alone.

        `plan` sees to the rest of what a choice may ask for; it composes each region and leaves exempt adapters out.
        """


def _checked(label: str, setting: Field[Any], kind: Any, method: FusionMethod) -> SettingValue:
    """The value of a setting, a whole number made float where the field is float. Raises SettingError."""
    value: Any = getattr(method, setting.name)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise SettingError(label, expected=f"one of {', '.join(map(str, choices))}", found=repr(value))
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        expected = {"int": "a whole number", "float": "a finite number", "bool": "true or false", "str": "text"}
        raise SettingError(label, expected=expected[kind.__name__], found=repr(value), remedy=_advice(setting))
    low, high = setting.metadata.get("min", -math.inf), setting.metadata.get("max", math.inf)
    if kind in (int, float) and not low <= value <= high:
        raise SettingError(label, expected=f"a value from {low} to {high}", found=repr(value), remedy=_advice(setting))
    return value


def _advice(setting: Field[Any]) -> str:
    return "" if setting.default is MISSING else f"Leave it out for the default, {setting.default!r}."
