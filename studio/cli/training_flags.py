"""Flags for the settings of a training, such as --learning-rate, made from the fields of its dataclass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.pipelines.training.settings import LoraTraining

NAMES = {"templates": "--template", "sample_prompts": "--sample-prompt"}  # lists are given one by one


def with_training_flags(
    function: Callable[..., None], kind: type[LoraTraining] | type[GateTraining] = LoraTraining
) -> Callable[..., None]:
    """`function` as a command with a flag for every field of `kind`; it receives the given ones as `settings`."""
    hints = get_type_hints(kind)
    names = [item.name for item in fields(kind)]

    def command(**values: Any) -> None:
        given = {name: values.pop(name) for name in names}
        settings = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in given.items()
            if value is not None and value != []
        }
        function(**values, settings=settings)

    own = [it for it in inspect.signature(function, eval_str=True).parameters.values() if it.name != "settings"]
    added = [
        inspect.Parameter(
            item.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_annotation(item, hints[item.name])
        )
        for item in fields(kind)
    ]
    signature = inspect.Signature([*(it.replace(kind=inspect.Parameter.KEYWORD_ONLY) for it in own), *added])
    command.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    command.__annotations__ = {it.name: it.annotation for it in signature.parameters.values()}
    command.__doc__ = function.__doc__
    return command


def _annotation(item: Field[Any], hint: Any) -> Any:
    kinds = [kind for kind in get_args(hint) if kind is not type(None)] if type(None) in get_args(hint) else [hint]
    kind: Any = list[str] if get_origin(kinds[0]) is tuple else kinds[0]
    flag = NAMES.get(item.name, "--" + item.name.replace("_", "-"))
    declaration = f"{flag}/--no-{flag[2:]}" if kind is bool else flag
    default = ", ".join(item.default) if isinstance(item.default, tuple) else item.default
    repeatable = "; repeatable" if kind == list[str] else ""
    shown = f" (default {default})" if default not in (None, "") else ""
    note = item.metadata["help"][0].upper() + item.metadata["help"][1:] + repeatable + shown
    panel = "Settings of the training"
    return Annotated[kind | None, typer.Option(declaration, help=note, rich_help_panel=panel)]
