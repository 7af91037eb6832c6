"""JSON that a stranger wrote: every number, string, key and depth within bounds, and one kind of error for the rest.

All JSON from outside comes through here: headers, metadata, sidecars, records, requests, prompts. What it gives holds
no number that floats cannot hold and no text that UTF-8 cannot hold. Its time and memory are linear in the text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn, cast

DEPTH = 64  # of brackets, where a caller does not say less
PAIRS = 250_000  # keys with values in one text; the largest header seen has 10,000
_DIGITS = 20  # of whole numbers: 64 bits have 19 or 20
# A string, or one that is never closed, which then reaches to the end: no second look at any character.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_MARKS = bytes(set(range(256)) - set(b"[]{}:"))
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: bytes | str, *, depth: int = DEPTH, pairs: int = PAIRS) -> Any:
    """The value of `text`, in UTF-8 where it is bytes. Raises ValueError with a short reason that quotes but a key."""
    try:
        raw = text.encode("utf-8") if isinstance(text, str) else text
        text = raw.decode("utf-8-sig")
    except UnicodeError as error:
        raise ValueError("JSON that is not UTF-8") from error
    marks = _STRING.sub(b"", raw).translate(None, delete=_NOT_MARKS)
    if (found := marks.count(b":")) > pairs:
        raise ValueError(f"JSON with {found:,} keys, where at most {pairs:,} are allowed")
    if _deeper_than(marks.replace(b":", b""), depth):
        raise ValueError(f"JSON nested deeper than {depth} levels, or brackets that do not close")
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_integer, parse_float=_float
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON at character {error.pos}") from error
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error
    if _SURROGATE.search(text):
        _check_texts(value)
    return value


def parse_object(text: bytes | str, *, depth: int = DEPTH) -> dict[str, Any]:
    """The object that `text` is; raises ValueError for anything else."""
    value = parse_json(text, depth=depth)
    if not isinstance(value, dict):
        raise ValueError("JSON that is not an object")
    return cast("dict[str, Any]", value)


def _deeper_than(brackets: bytes, depth: int) -> bool:
    """Whether brackets nest deeper, found without recursion: peel off one level at a time."""
    for _ in range(depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        seen: set[str] = set()
        repeated = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {repeated[:120]!r} occurs twice")
    return values


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} as a number")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:40]}, which is beyond what can be computed with")
    return value


def _check_texts(value: Any) -> None:
    for each in _texts(value):
        try:
            each.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("text with half a character, which UTF-8 cannot hold") from error


def _texts(value: Any) -> Iterator[str]:
    stack: list[Any] = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            items = cast("dict[str, Any]", each)
            yield from items
            stack.extend(items.values())
        elif isinstance(each, list):
            stack.extend(cast("list[Any]", each))
