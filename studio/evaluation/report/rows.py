"""The table of a report as results: one row for each method and k, with the headline, its interval, and the cost."""

from __future__ import annotations

from typing import Any

from lora_loom.studio.evaluation.report.content import Entry, Report

SEALED = "_sealed"  # a measure by the sealed judge; in results the judge is a key of its own
JUDGED = ("joint_success", "concept_success")  # by the development judge, unless they end in SEALED


def rows_of(report: Report) -> list[dict[str, Any]]:
    """Rows {method, k, ..., joint_success, ci_low, ci_high, n, passes_per_step, seconds, ...}; controls say so."""
    return [_row(entry, report.headline) for entry in report.entries]


def _row(entry: Entry, headline: str) -> dict[str, Any]:
    row: dict[str, Any] = {name: value for name, value in entry.keys.items() if value is not None}
    if headline.endswith(SEALED):
        row["judge"] = "sealed"
    first = entry.measure(headline)
    if first is not None:
        row |= {
            headline.removesuffix(SEALED): first.value,
            "ci_low": first.ci_low,
            "ci_high": first.ci_high,
            "n": first.n,
        }
    row |= {name: value for name, value in entry.cost.to_dict().items() if value is not None}
    for measure in entry.measures:
        if measure.name != headline:
            name = _name(measure.name, sealed=headline.endswith(SEALED))
            row |= {name: measure.value, f"{name}_ci_low": measure.ci_low, f"{name}_ci_high": measure.ci_high}
    return row


def _name(name: str, *, sealed: bool) -> str:
    """The measure's key beside a headline: where that is the sealed judge's, the other judge's say whose they are."""
    if sealed and name in JUDGED:
        return f"{name}_development"
    return name.removesuffix(SEALED) if sealed else name
