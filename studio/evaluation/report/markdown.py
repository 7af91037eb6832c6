"""The report as Markdown: its tables, findings and notes; pictures and plots are in the page beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lora_loom.studio.evaluation.report.content import Entry, Report
from lora_loom.studio.evaluation.report.figures import cost_columns, cost_text, figure, span


def markdown(report: Report) -> str:
    """The text, ending in a line break."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {_cell(report.title)}"
    yield ""
    for name, value in report.facts:
        yield f"- {_cell(name)}: {_cell(value)}"
    if report.findings:
        yield from ("", "## In short", "", *(f"- {_cell(finding)}" for finding in report.findings))
    if report.contestants:
        yield from ("", "## Results", "", *_entries(report, report.contestants))
    if report.controls:
        yield from ("", "## Controls", "", *_entries(report, report.controls))
    for table in report.tables:
        yield from ("", f"## {_cell(table.title)}", "", *_table(table.columns, table.rows))
    if report.notes or report.command:
        yield from ("", "## What has to be said")
    if report.notes:
        yield from ("", *(f"- {_cell(note)}" for note in report.notes))
    if report.command:
        yield from ("", "```sh", report.command.replace("```", ""), "```")


def _entries(report: Report, entries: Sequence[Entry]) -> Iterator[str]:
    names, costs = report.measure_names(entries), cost_columns(entries)
    titles = {measure.name: measure.title for entry in entries for measure in entry.measures}
    with_k = any(entry.k is not None for entry in entries)
    columns = ["method", *(["k"] if with_k else []), *(titles[name] for name in names)]
    after = 3 if with_k else 2  # method, k and headline, then n and cost, then the other measures
    columns[after:after] = ["n", *costs.values()]
    rows: list[list[str]] = []
    for entry in sorted(entries, key=lambda entry: (entry.k or 0, entry.label)):
        measures = [entry.measure(name) for name in names]
        values = ["" if m is None else f"{figure(m)} ({span(m)})" if span(m) else figure(m) for m in measures]
        row = [entry.label, *([str(entry.k or "")] if with_k else []), *values]
        n = max((measure.n or 0 for measure in entry.measures), default=0)
        row[after:after] = [str(n), *(cost_text(entry, name) for name in costs)]
        rows.append(row)
    yield from _table(columns, rows)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(map(_cell, columns))} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(map(_cell, row))} |".replace("  |", " |")


def _cell(value: str) -> str:
    """A text on one line that ends no cell and opens no tag."""
    return " ".join(value.split()).replace("|", "\\|").replace("<", "&lt;")
