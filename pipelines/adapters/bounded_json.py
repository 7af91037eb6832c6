"""JSON from a file: a bounded depth, no repeated keys, no NaN, and one kind of error for all that can be wrong."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse_json(text: bytes, *, depth: int) -> Any:
    """The value of `text`, which is UTF-8. Raises ValueError with a short reason that quotes nothing but a key."""
    if _deeper_than(text, depth):
        raise ValueError(f"JSON nested deeper than {depth} levels, or brackets that do not close")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise ValueError("JSON that is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON at character {error.pos}") from error
    except RecursionError as error:
        raise ValueError("JSON nested too deeply") from error


def _deeper_than(text: bytes, depth: int) -> bool:
    """Whether brackets nest deeper, found without recursion: strip the strings, then peel off one level at a time."""
    brackets = _STRING.sub(b"", text).translate(None, delete=_NOT_BRACKETS)
    for _ in range(depth):
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
