"""Flags for the fields of a request and for what single LoRAs take, such as --steps, made from their declarations."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import typer

from lora_loom.pipelines.request import declared_fields
from lora_loom.pipelines.requests.adapter_choice import choice_fields
from lora_loom.pipelines.requests.fields import RequestField

TYPES: Mapping[str, type] = {"integer": int, "number": float, "switch": bool, "text": str}
OF_LORAS = "lora_"  # what the options of single LoRAs begin with


def request_flags() -> dict[str, tuple[RequestField, ...]]:
    """The fields that a flag of their own gives, by the name of the option; two of them where a flag is AxB.

    The prompt is an argument of the command, the settings come from the flags of their method and --set.
    """
    by_flag: dict[str, list[RequestField]] = {}
    for each in declared_fields().values():
        if each.kind != "other" and not each.required and each.shows("flag"):
            by_flag.setdefault(each.flag, []).append(each)
    return {each[0].name if len(each) == 1 else flag: tuple(each) for flag, each in by_flag.items()}


def lora_flags() -> dict[str, RequestField]:
    """The fields of AdapterChoice beside name and strength by the name of the option, which is repeatable."""
    return {f"{OF_LORAS}{name}": each for name, each in choice_fields().items() if name not in ("name", "strength")}


def with_request_flags(function: Callable[..., None]) -> Callable[..., None]:
    """`function` as a command that also takes all those flags, in the place of its parameter `asked`.

    It receives those that were given as `asked`, a mapping from the name of the option to the value.
    """
    added = [_parameter("lora", _loras())]
    for name, each in lora_flags().items():
        flag = f"--{name.replace('_', '-')}"
        option = typer.Option(flag, metavar=each.metavar or "NAME:VALUE", help=each.told)
        added.append(_parameter(name, Annotated[list[str] | None, option]))
    for name, members in request_flags().items():
        added.append(_parameter(name, _annotation(members)))

    @functools.wraps(function)
    def command(**values: Any) -> None:
        given = {item.name: values.pop(item.name) for item in added}
        function(asked={name: value for name, value in given.items() if value is not None}, **values)

    parameters: list[inspect.Parameter] = []
    for item in inspect.signature(function, eval_str=True).parameters.values():
        own = item.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += added if item.name == "asked" else [own]
    vars(command)["__signature__"] = inspect.Signature(parameters)  # what inspect and so Typer read first
    command.__annotations__ = {item.name: item.annotation for item in parameters}
    return command


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _loras() -> Any:
    declared = declared_fields()["adapters"]
    option = typer.Option(f"--{declared.flag}", metavar=declared.metavar, help=declared.told)
    return Annotated[list[str] | None, option]


def _annotation(members: tuple[RequestField, ...]) -> Any:
    first, flag = members[0], f"--{members[0].flag}"
    if len(members) > 1:
        sides = "x".join(each.label[0] for each in members)
        return Annotated[str | None, typer.Option(flag, metavar=sides, help=first.told)]
    texts = [choice for choice in first.choices if isinstance(choice, str)]
    kind: Any = Literal[tuple(texts)] if texts else TYPES.get(first.kind, str)
    declaration = f"{flag}/--no-{first.flag}" if first.kind == "switch" else flag
    return Annotated[kind | None, typer.Option(declaration, metavar=first.metavar or None, help=first.told)]
