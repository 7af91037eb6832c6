"""The settings of a fusion method as form fields: one dataclass gives the page a form and the CLI its flags."""

from __future__ import annotations

import typing
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeAlias

from lora_loom.pipelines.request import SettingValue

if TYPE_CHECKING:
    from lora_loom.pipelines.method import FusionMethod

FieldKind: TypeAlias = Literal["integer", "number", "switch", "choice", "text"]
KINDS: dict[type, FieldKind] = {int: "integer", float: "number", bool: "switch", str: "text"}


@dataclass(frozen=True)
class FormField:
    """One setting as it is shown; `minimum` and `maximum` are inclusive and may be open, `choices` is for "choice"."""

    name: str
    kind: FieldKind
    default: SettingValue
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[SettingValue, ...] = ()
    help: str = ""

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").capitalize()


def form(method: type[FusionMethod]) -> list[FormField]:
    """The fields of `method` in the order of its settings; raises TypeError for a setting that no form can show."""
    hints = typing.get_type_hints(method)
    shown: list[FormField] = []
    for setting in fields(method):
        hint = hints[setting.name]
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        kind = "choice" if choices else KINDS.get(hint)
        if kind is None or setting.default is MISSING:
            raise TypeError(
                f"setting {setting.name} of {method.__name__} has type {hint} and "
                f"{'no' if setting.default is MISSING else 'a'} default; "
                "a setting is an int, float, bool, str or Literal with a default"
            )
        limits = setting.metadata
        shown.append(
            FormField(
                name=setting.name,
                kind=kind,
                default=setting.default,
                minimum=limits.get("min"),
                maximum=limits.get("max"),
                choices=choices,
                help=limits.get("help", ""),
            )
        )
    return shown
