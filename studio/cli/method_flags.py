"""Flags for the settings of every fusion method, such as --switch-every, made from the fields of its class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import typer

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import SettingValue
from lora_loom.studio.settings_form import FormField, form

TYPES: dict[str, type] = {"integer": int, "number": float, "switch": bool, "text": str}


def flag_name(method: str, setting: str) -> str:
    """`--METHOD-SETTING`; a setting that already starts with the method's name says it once."""
    words = setting if setting.startswith(f"{method}_") else f"{method}_{setting}"
    return "--" + words.replace("_", "-")


def with_method_flags(function: Callable[..., None]) -> Callable[..., None]:
    """`function` as a command that also takes the flags of all methods.

    It receives those that were given as `flags`, a mapping from (method, setting) to the value.
    """
    flags = {
        f"{name}__{entry.name}": (name, entry, method.title)
        for name, method in methods().items()
        for entry in form(method)
    }

    @functools.wraps(function)
    def command(**values: Any) -> None:
        given = {key: values.pop(key) for key in flags}
        function(
            flags={(flags[key][0], flags[key][1].name): value for key, value in given.items() if value is not None},
            **values,
        )

    own = [item for item in inspect.signature(function, eval_str=True).parameters.values() if item.name != "flags"]
    added = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(name, entry, title))
        for key, (name, entry, title) in flags.items()
    ]
    signature = inspect.Signature([*(item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own), *added])
    vars(command)["__signature__"] = signature  # what inspect and so Typer read first
    command.__annotations__ = {item.name: item.annotation for item in signature.parameters.values()}
    return command


def chosen_settings(
    method: str, flags: Mapping[tuple[str, str], SettingValue], extra: Mapping[str, SettingValue]
) -> dict[str, SettingValue]:
    """The settings for `method` from its flags and from --set; raises SettingError for another method's flag."""
    settings = dict(extra)
    for (owner, setting), value in flags.items():
        flag = flag_name(owner, setting)
        if owner != method:
            raise SettingError(
                f"{flag} is a setting of {owner}",
                found=f"method {method}",
                remedy=f"Add --method {owner} or drop {flag}",
            )
        if setting in extra:
            raise SettingError(f"{setting} was given twice", found=f"{flag} and --set {setting}", remedy="Give it once")
        settings[setting] = value
    return settings


def _annotation(method: str, entry: FormField, title: str) -> Any:
    texts = [choice for choice in entry.choices if isinstance(choice, str)]
    kind: Any = Literal[tuple(texts)] if texts else TYPES.get(entry.kind, str)
    flag = flag_name(method, entry.name)
    declaration = f"{flag}/--no-{flag[2:]}" if entry.kind == "switch" else flag
    limits = [
        f"{word} {limit:g}" for word, limit in (("from", entry.minimum), ("to", entry.maximum)) if limit is not None
    ]
    note = f"{entry.help} ({', '.join([f'default {entry.default}', ' '.join(limits)]).removesuffix(', ')})"
    return Annotated[kind | None, typer.Option(declaration, help=note, rich_help_panel=f"Settings of {title}")]
