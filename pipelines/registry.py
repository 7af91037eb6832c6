"""The fusion methods that exist: every file of methods/ is read, so adding a method is adding a file."""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

import lora_loom.pipelines.methods as methods_package
from lora_loom.pipelines.errors import SettingError, UnknownMethodError
from lora_loom.pipelines.method import FusionMethod

if TYPE_CHECKING:
    from lora_loom.pipelines.request import SettingValue


@cache
def methods() -> dict[str, type[FusionMethod]]:
    """Every method by its name, sorted by name."""
    names = [found.name for found in pkgutil.iter_modules(methods_package.__path__, f"{methods_package.__name__}.")]
    return collect(importlib.import_module(name) for name in names)


def collect(modules: Iterable[ModuleType]) -> dict[str, type[FusionMethod]]:
    """The concrete methods that these modules define. Raises TypeError when two carry one name, naming both files."""
    found: dict[str, type[FusionMethod]] = {}
    for module in modules:
        for kind in vars(module).values():
            if not _is_method_of(module, kind):
                continue
            if kind.name in found:
                files = " and ".join(sorted(inspect.getfile(each) for each in (found[kind.name], kind)))
                raise TypeError(f"two fusion methods are called {kind.name!r}: {files}; rename one of them")
            found[kind.name] = kind
    return dict(sorted(found.items()))


def create(name: str, settings: Mapping[str, SettingValue] | None = None) -> FusionMethod:
    """The method of that name with these settings, the rest at their defaults.

    Raises UnknownMethodError for the name, SettingError for a setting that is unknown, of a wrong type or out of range.
    """
    kind = methods().get(name)
    if kind is None:
        raise UnknownMethodError(
            f"no fusion method named {name!r}",
            expected=f"one of {', '.join(methods())}",
            found=repr(name),
            remedy=_did_you_mean(name, methods()),
        )
    known = [setting.name for setting in fields(kind)]
    for setting in settings or {}:
        if setting not in known:
            raise SettingError(
                f"method {name} has no setting {setting!r}",
                expected=f"one of {', '.join(known)}" if known else "no settings at all",
                found=repr(setting),
                remedy=_did_you_mean(setting, known),
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
    try:
        return key.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return key.strip(), value.strip()


def _is_method_of(module: ModuleType, kind: object) -> bool:
    return (
        inspect.isclass(kind)
        and issubclass(kind, FusionMethod)
        and kind.__module__ == module.__name__
        and not inspect.isabstract(kind)
    )


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"Did you mean {close[0]!r}?" if close else ""
