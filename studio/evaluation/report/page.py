"""The report as one HTML page that needs nothing else: style, plots and pictures are inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lora_loom.studio.evaluation.report.content import Entry, Measure, Report
from lora_loom.studio.evaluation.report.figures import cost_columns, cost_text, figure, span
from lora_loom.studio.evaluation.report.plots import PALETTE, colours, plots_of
from lora_loom.studio.templates import render

OPEN_ROWS = 24  # of a plain table; longer ones are folded
STYLE = Path(__file__).with_name("report.css")


def page(report: Report) -> str:
    """The whole page. Every text from outside is escaped; there is no script."""
    return render(
        "evaluation/report/page.html.j2",
        report=report,
        style=Markup(STYLE.read_text(encoding="utf-8")),
        contestants=_entries(report, report.contestants),
        controls=_entries(report, report.controls),
        plots=[(title, Markup(svg)) for title, svg in plots_of(report)],
        concepts=_concepts(report),
        open_rows=OPEN_ROWS,
    )


def _entries(report: Report, entries: Sequence[Entry]) -> dict[str, Any] | None:
    """One block for each k, the best by the headline on top.

    Method, headline, n and cost stand together; the other measures follow.
    """
    if not entries:
        return None
    names, costs = report.measure_names(entries), cost_columns(entries)
    titles = {measure.name: measure.title for entry in entries for measure in entry.measures}
    head = [("method", ""), *((titles[name], "") for name in names)]
    head[2:2] = [("n", "n"), *((title, "") for title in costs.values())]
    blocks: list[tuple[int | None, list[dict[str, Any]]]] = []
    for k in sorted({entry.k for entry in entries}, key=lambda k: k or 0):
        members = sorted((entry for entry in entries if entry.k == k), key=lambda entry: _rank(entry, report.headline))
        blocks.append((k, [_row(report, entry, names, list(costs)) for entry in members]))
    return {"head": head, "blocks": blocks}


def _row(report: Report, entry: Entry, names: Sequence[str], costs: Sequence[str]) -> dict[str, Any]:
    n = max((measure.n or 0 for measure in entry.measures), default=0)
    cells = [_measure(entry.measure(name), bar=name == report.headline) for name in names]
    cells[1:1] = [_text(str(n), "n"), *(_text(cost_text(entry, name)) for name in costs)]
    return {"colour": _colour(colours(report).get(entry.label)), "label": entry.label, "cells": cells}


def _text(text: str, of: str = "") -> dict[str, Any]:
    return {"kind": "text", "text": text, "of": of}


def _measure(measure: Measure | None, *, bar: bool) -> dict[str, Any] | None:
    if measure is None:
        return None
    drawn = _bar(measure) if bar and measure.is_share else None
    return {"kind": "measure", "text": figure(measure), "span": span(measure), "bar": drawn}


def _bar(measure: Measure) -> tuple[float, float, float]:
    """Left end, width and value of a share on a track from 0 to 1, with its interval if it has one."""
    low = measure.value if measure.ci_low is None else measure.ci_low
    high = measure.value if measure.ci_high is None else measure.ci_high
    return low, max(high - low, 0.004), measure.value


def _colour(of_palette: str | None) -> str:
    return "var(--quiet)" if of_palette is None else f"var(--m{PALETTE.index(of_palette)})"


def _rank(entry: Entry, name: str) -> tuple[float, str]:
    measure = entry.measure(name)
    if measure is None:
        return float("inf"), entry.label
    return (measure.value if measure.higher_is_better is False else -measure.value), entry.label


def _concepts(report: Report) -> dict[str, Any]:
    """How often each concept is there, by entry: darker is more often; nothing for a single entry."""
    entries = [entry for entry in report.contestants if entry.concepts]
    names = sorted({name for entry in entries for name in entry.concepts})
    if len(entries) < 2:
        names = []
    return {"names": names, "entries": sorted(entries, key=lambda entry: (entry.k or 0, entry.label))}
