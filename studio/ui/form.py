"""The values of the Compose form and the request they stand for, in both directions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from lora_loom.pipelines.errors import LoomError, RequestError, UnknownMethodError
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import GenerationRequest, declared_fields
from lora_loom.pipelines.requests.fields import RequestField
from lora_loom.pipelines.requests.prompt_syntax import split_prompt
from lora_loom.studio.records.record import GenerationRecord
from lora_loom.studio.settings_form import form
from lora_loom.studio.ui.method_form import read_settings
from lora_loom.studio.ui.stack import StackRow, choices

MAX_RANDOM_SEED = 2**31  # short enough to read out


def form_fields() -> dict[str, RequestField]:
    """The plain fields that the form shows, by name, in the order of the request."""
    return {name: each for name, each in declared_fields().items() if each.shows("form") and each.kind != "other"}


def read_form(values: Mapping[str, Any], stacked: Sequence[StackRow], base_model: str) -> GenerationRequest:
    """The request that the form's `values` and the stack describe; raises RequestError, SettingError,
    UnknownMethodError.

    `<lora:name:strength>` in the prompt joins the stack for this picture.
    """
    method = values["method"]
    if method not in methods():
        raise UnknownMethodError(f"no fusion method named {method!r}", expected=f"one of {', '.join(methods())}")
    plain = {name: _read(declared, values[name]) for name, declared in form_fields().items()}
    prompt, typed = split_prompt(plain["prompt"])
    return GenerationRequest(
        **{**plain, "prompt": prompt},
        settings=read_settings(method, values),
        adapters=(*choices(stacked), *typed),
        base_model=base_model,
    )


def write_form(request: GenerationRequest) -> dict[str, Any]:
    """The values that make the form describe `request`; settings, each of its method's, go under "method.setting"."""
    values = {name: getattr(request, name) for name in form_fields()}
    kind = methods().get(request.method)
    defaults = {setting.name: setting.default for setting in form(kind)} if kind else {}
    return values | {f"{request.method}.{name}": value for name, value in {**defaults, **request.settings}.items()}


def lost_in_form(request: GenerationRequest) -> list[str]:
    """The fields, by their labels, and settings that the form cannot hold as they are in `request`."""
    stacked = [StackRow.of(choice) for choice in request.adapters]
    try:
        shown = read_form({**read_draft({}), **write_form(request)}, stacked, request.base_model)
    except LoomError as error:  # such as a method that this Loom does not have
        return [error.what]
    lost = [each.label for name, each in declared_fields().items() if getattr(shown, name) != getattr(request, name)]
    if shown.settings != request.settings:  # those left out of the request have their defaults in the form
        lost.remove(declared_fields()["settings"].label)
        lost += [name for name, value in request.settings.items() if shown.settings.get(name) != value]
    return lost


def read_draft(kept: object, start: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """The form's values as the browser kept them, over `start` and the defaults; what fits no field is left out."""
    plain = form_fields()
    values: dict[str, Any] = {**{name: each.at_start for name, each in plain.items()}, "new_seed": False, **start}
    for method, kind in methods().items():
        values |= {f"{method}.{setting.name}": setting.default for setting in form(kind)}
    for name, value in kept.items() if isinstance(kept, Mapping) else ():
        if name in values and (_could_hold(plain[name], value) if name in plain else _alike(value, values[name])):
            values[name] = value
    if values["method"] not in methods():
        values["method"] = plain["method"].default
    return values


def stack_of(record: GenerationRecord) -> list[StackRow]:
    """The stack of a recorded picture, with the hashes of the files it was made with."""
    return [
        StackRow.of(choice, sha256=record.adapter_sha256.get(choice.name, "")) for choice in record.request.adapters
    ]


def request_of_one(record: GenerationRecord) -> GenerationRequest:
    """The request that makes this one picture of a run again: image k was drawn from seed + k."""
    return replace(record.request, seed=record.seed, num_images_per_prompt=1)


def random_seed() -> int:
    return secrets.randbelow(MAX_RANDOM_SEED)


def _alike(value: object, default: object) -> bool:
    return _number(value) if _number(default) else type(value) is type(default)


def _could_hold(declared: RequestField, value: object) -> bool:
    """Whether a value that the browser kept is one that the field could hold."""
    match declared.kind:
        case "integer" | "number":
            return _number(value) or (declared.optional and value is None)
        case "choice":
            return value in declared.choices
        case _:
            return isinstance(value, bool if declared.kind == "switch" else str)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(declared: RequestField, value: Any) -> Any:
    """What the browser sent for a field as the request takes it: 5 and 5.0 are alike, an empty text is "".

    Raises RequestError for a fraction where a whole number belongs, and for nothing where something does.
    """
    if declared.kind == "text":
        return "" if value is None else value
    if value is None and not declared.optional:
        kind = "a whole number" if declared.kind == "integer" else "a value"
        remedy = "type one or press the dice" if declared.name == "seed" else "type one"
        raise RequestError(f"the {declared.label.lower()} is empty", expected=kind, remedy=remedy)
    if declared.optional and value == 0 and (declared.minimum or 0) > 0:
        return None  # Gradio shows an empty number as 0 once the fold that it lies in is opened
    if declared.kind == "integer" and isinstance(value, float):
        if not value.is_integer():
            raise RequestError(f"{declared.name} is not a whole number", found=repr(value)[:80])
        return int(value)
    return value
