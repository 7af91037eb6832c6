"""A row of results: what was measured, what the anchor gives in the same run, and whether the line holds."""

from __future__ import annotations

from typing import Any

from lora_loom.studio.bench.clock import Estimate

Row = dict[str, Any]
DIGITS = 4  # significant


def row(
    id: str, what: str, value: Estimate, *, anchor: float | None, line: float | None, at_least: bool = False
) -> Row:
    """One result. `line` is the most that `value` may be, or with `at_least` the least; None is a figure without line.

    It holds by the value itself, not by the better end of its interval.
    """
    holds = None if line is None else bool(value.value >= line if at_least else value.value <= line)
    low, high = _short(value.low), _short(value.high)
    return {
        "id": id,
        "what": what,
        "value": _short(value.value),
        "anchor": None if anchor is None else _short(anchor),
        "line": line,
        "bound": None if line is None else "at least" if at_least else "at most",
        "holds": holds,
        "ci": [low, high],
        "ci_low": low,
        "ci_high": high,
        "n": value.n,
    }


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
