"""From a committed result file to the content of a report: {command, commit, versions, rows}."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.cost import Cost
from lora_loom.studio.evaluation.report.content import Entry, Measure, Table

KEYS = ("method", "k", "control", "settings", "part", "set")
COST = ("seconds", "passes_per_step", "replays_per_step", "peak_memory_bytes")
INTERVALS = ("ci_low", "ci_high")
TELLS_APART = "what"  # the kind of a row, where a file has several
TITLES = {
    "about": "About",
    "single": "Each LoRA alone",
    "judges": "How far the judges agree",
    "line": "The line to beat",
    "pair": "Methods in pairs",
    "more": "More",
}


def read_results(path: Path) -> dict[str, Any]:
    """The document; raises EvaluationError for what is none."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EvaluationError(f"{path} cannot be read as results", expected="JSON", found=str(error)) from error
    rows = held.get("rows") if isinstance(held, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise EvaluationError(f"{path} holds no results", expected='{"command": ..., "rows": [{...}, ...]}')
    return held


def entries_of(rows: Sequence[Mapping[str, Any]]) -> list[Entry]:
    """An entry for each method and k: rows with a `method` and measures of their own, or one measure a row."""
    merged: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        if is_entry(row):
            merged.setdefault((*(row.get(key) for key in KEYS), row.get(TELLS_APART)), []).append(row)
    return [_entry(parts) for parts in merged.values()]


def is_entry(row: Mapping[str, Any]) -> bool:
    """Whether the row is about the pictures of a method: it has a method, k or control, and a headline or a metric."""
    about = any(row.get(key) is not None for key in ("method", "k", "control"))
    return about and ("joint_success" in row or ("metric" in row and "value" in row))


def _entry(rows: Sequence[Mapping[str, Any]]) -> Entry:
    first = rows[0]
    measures: list[Measure] = []
    for row in rows:
        measures += [_metric_row(row)] if "metric" in row else _wide_row(row)
    cost = {name: next((float(row[name]) for row in rows if _is_number(row.get(name))), None) for name in COST}
    if cost["peak_memory_bytes"] is None and _is_number(first.get("peak_memory_mb")):
        cost["peak_memory_bytes"] = float(first["peak_memory_mb"]) * 2**20
    control = first.get("control") or first.get(TELLS_APART) == "control"
    return Entry(
        keys={key: first[key] for key in KEYS if first.get(key) is not None},
        measures=tuple(measures),
        cost=Cost(**cost),
        kind="control" if control else "reference" if first.get(TELLS_APART) == "reference" else "method",
    )


def _metric_row(row: Mapping[str, Any]) -> Measure:
    name = f"{row['metric']} {row.get('variant', '')}" if row["metric"] == "clip_score" else row["metric"]
    return Measure(
        name.strip(), row["value"], row.get("ci_low"), row.get("ci_high"), row.get("n"), row.get("higher_is_better")
    )


def _wide_row(row: Mapping[str, Any]) -> list[Measure]:
    """Every number of the row is a measure but for keys, cost and intervals; `x_ci_low` belongs to x, or to y_x."""
    known = {*KEYS, *COST, *INTERVALS, TELLS_APART, "n", "sets", "failed_sets", "peak_memory_mb", "seconds_alone"}
    names = [
        name for name, value in row.items() if name not in known and _is_number(value) and not name.endswith(INTERVALS)
    ]
    measures = []
    for name in names:
        stem = "" if name == "joint_success" else f"{name.split('_')[0]}_"
        ends = [_first(row, f"{name}_{end}", f"{name.rsplit('_', 1)[-1]}_{end}", f"{stem}{end}") for end in INTERVALS]
        measures.append(Measure(name, row[name], *ends, n=row.get("n")))
    return measures


def _first(row: Mapping[str, Any], *names: str) -> float | None:
    return next((row[name] for name in names if _is_number(row.get(name))), None)


def other_tables(rows: Sequence[Mapping[str, Any]]) -> list[Table]:
    """The rows that are no entries, one table for each `what`."""
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if not is_entry(row):
            kinds.setdefault(str(row.get(TELLS_APART, "more")), []).append(row)
    return [_table(kind, members) for kind, members in kinds.items()]


def _table(kind: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = tuple(dict.fromkeys(key for row in rows for key in row if key != TELLS_APART))
    texts = tuple(tuple(text(row.get(column)) for column in columns) for row in rows)
    return Table(TITLES.get(kind, kind), tuple(column.replace("_", " ") for column in columns), texts)


def text(value: Any) -> str:
    """A value of a row for a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
