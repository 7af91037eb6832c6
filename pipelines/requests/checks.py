"""The checks that plain data of a request passes: text, numbers in a range, objects with known keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from lora_loom.pipelines.errors import RequestError


def check_text(name: str, value: object, *, maximum: int) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{name} is not text", expected="a string", found=show(value))
    if len(value) > maximum:
        raise RequestError(f"{name} is too long", expected=f"at most {maximum} characters", found=str(len(value)))
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:  # a lone surrogate: no file and no tokenizer could hold it
        raise RequestError(f"{name} holds a broken character", found=f"position {error.start}") from error
    return value


def check_integer(name: str, value: object, minimum: int, maximum: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        expected = f"a whole number from {minimum} to {maximum}"
        raise RequestError(f"{name} is out of range", expected=expected, found=show(value))
    return value


def check_number(name: str, value: object, minimum: float, maximum: float) -> float:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not sound or not minimum <= cast("float", value) <= maximum:
        raise RequestError(
            f"{name} is out of range", expected=f"a number from {minimum:g} to {maximum:g}", found=show(value)
        )
    return float(cast("float", value))


def known_keys(what: str, data: object, names: tuple[str, ...], *, required: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise RequestError(f"a {what} is not an object", expected=f"keys {', '.join(names)}", found=show(data))
    known = {str(key): value for key, value in cast("Mapping[object, Any]", data).items()}
    if unknown := sorted(set(known) - set(names)):
        raise RequestError(
            f"a {what} has unknown keys", expected=f"some of {', '.join(names)}", found=", ".join(unknown)
        )
    if missing := sorted(set(required) - set(known)):
        raise RequestError(f"a {what} lacks {', '.join(missing)}", expected=f"at least {', '.join(required)}")
    return known


def show(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
