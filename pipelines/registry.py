"""The fusion methods that exist: those in methods/ and those of installed packages; adding one is adding a file."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from lora_loom.pipelines.errors import SettingError, UnknownMethodError
from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plugins import Registry, classes, did_you_mean

if TYPE_CHECKING:
    from lora_loom.pipelines.request import SettingValue

METHODS: Registry[type[FusionMethod]] = Registry(
    "fusion method", folder="lora_loom.pipelines.methods", group="loom.methods", offered=classes(FusionMethod)
)


def methods() -> Mapping[str, type[FusionMethod]]:
    """Every method by its name, sorted by name."""
    return METHODS.parts


def create(name: str, settings: Mapping[str, SettingValue] | None = None) -> FusionMethod:
    """The method of that name with these settings, the rest at their defaults.

    Raises UnknownMethodError for the name, SettingError for a setting that is unknown, of a wrong type or out of range.
    """
    kind = METHODS.get(name, UnknownMethodError)
    known = [setting.name for setting in fields(kind)]
    for setting in settings or {}:
        if setting not in known:
            raise SettingError(
                f"method {name} has no setting {setting!r}",
                expected=f"one of {', '.join(known)}" if known else "no settings at all",
                found=repr(setting),
                remedy=did_you_mean(setting, known),
            )
    return kind(**(settings or {}))


def parsed(text: str) -> tuple[str, dict[str, SettingValue]]:
    """Name and settings of `name` or `name:setting=value;setting=value`, values as Python writes them or bare words.

    What they mean is for `create` to check.
    """
    name, _, tail = text.partition(":")
    return name.strip(), dict(_setting(each) for each in tail.split(";") if each.strip())


def _setting(text: str) -> tuple[str, SettingValue]:
    key, _, value = text.partition("=")
    if value.strip() in ("true", "false"):  # as a shell and JSON write them
        return key.strip(), value.strip() == "true"
    try:
        return key.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return key.strip(), value.strip()
