"""The values of the Compose form and the request they stand for, in both directions."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lora_loom.pipelines.errors import RequestError, UnknownMethodError
from lora_loom.pipelines.prompt_syntax import split_prompt
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.pipelines.schedulers import DEFAULT, DIFFUSION
from lora_loom.studio.records.record import GenerationRecord
from lora_loom.studio.settings_form import form
from lora_loom.studio.ui.method_form import read_settings
from lora_loom.studio.ui.stack import Strand, choices

DEFAULTS: Mapping[str, Any] = {
    "prompt": "",
    "negative_prompt": "",
    "num_inference_steps": 20,
    "guidance_scale": 3.0,
    "width": None,
    "height": None,
    "num_images_per_prompt": 1,
    "seed": 42,
    "scheduler": "default",
    "method": "merge",
}
SCHEDULERS = (DEFAULT, *DIFFUSION)
WHOLE = ("num_inference_steps", "width", "height", "num_images_per_prompt", "seed")
MAX_RANDOM_SEED = 2**31  # short enough to read out


def read_form(values: Mapping[str, Any], strands: Sequence[Strand], base_model: str) -> GenerationRequest:
    """The request that the form's `values` and the stack describe; raises RequestError, SettingError,
    UnknownMethodError.

    `<lora:name:strength>` in the prompt joins the stack for this picture.
    """
    method = values["method"]
    if method not in methods():
        raise UnknownMethodError(f"no fusion method named {method!r}", expected=f"one of {', '.join(methods())}")
    plain = {name: _whole(name, values[name]) if name in WHOLE else values[name] for name in DEFAULTS}
    if plain["seed"] is None:
        raise RequestError("the seed is empty", expected="a whole number", remedy="type one or press the dice")
    prompt, typed = split_prompt(str(plain["prompt"] or ""))
    return GenerationRequest(
        **{**plain, "prompt": prompt, "negative_prompt": plain["negative_prompt"] or ""},
        settings=read_settings(method, values),
        adapters=(*choices(strands), *typed),
        base_model=base_model,
    )


def write_form(request: GenerationRequest) -> dict[str, Any]:
    """The values that make the form describe `request`; settings go under "method.setting"."""
    values = {name: getattr(request, name) for name in DEFAULTS}
    return values | {f"{request.method}.{name}": value for name, value in request.settings.items()}


def read_draft(kept: object) -> dict[str, Any]:
    """The form's values as the browser kept them, over the defaults; what does not fit its field is left out."""
    values: dict[str, Any] = {**DEFAULTS, "new_seed": False}
    for method, kind in methods().items():
        values |= {f"{method}.{setting.name}": setting.default for setting in form(kind)}
    for name, value in kept.items() if isinstance(kept, Mapping) else ():
        if name in values and _fits(value, values[name], optional=name in ("width", "height")):
            values[name] = value
    if values["method"] not in methods():
        values["method"] = DEFAULTS["method"]
    return values


def stack_of(record: GenerationRecord) -> list[Strand]:
    """The stack of a recorded picture, with the hashes of the files it was made with."""
    return [Strand.of(choice, sha256=record.adapter_sha256.get(choice.name, "")) for choice in record.request.adapters]


def request_of_one(record: GenerationRecord) -> GenerationRequest:
    """The request that makes this one picture of a run again: image k was drawn from seed + k."""
    return replace(record.request, seed=record.seed, num_images_per_prompt=1)


def random_seed() -> int:
    return secrets.randbelow(MAX_RANDOM_SEED)


def _fits(value: object, default: object, *, optional: bool) -> bool:
    if optional:
        return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    if isinstance(default, int | float) and not isinstance(default, bool):
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is type(default)


def _whole(name: str, value: Any) -> int | None:
    """A number field's value as a whole number; None where it is empty. Raises RequestError for a fraction."""
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise RequestError(f"{name} is not a whole number", found=repr(value)[:80])
