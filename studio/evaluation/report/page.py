"""The report as one HTML page that needs nothing else: style, plots and pictures are inside."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

from lora_loom.studio.evaluation.report.content import Entry, Measure, Report, Sheet, Table, Tile
from lora_loom.studio.evaluation.report.figures import cost_columns, cost_text, figure, span
from lora_loom.studio.evaluation.report.plots import PALETTE, colours, plots_of

OPEN_ROWS = 24  # of a plain table; longer ones are folded
STYLE = Path(__file__).with_name("report.css")


def page(report: Report) -> str:
    """The whole page. Every text from outside is escaped; there is no script."""
    parts = [
        _head(report),
        _findings(report),
        _results(report),
        _plots(report),
        _concepts(report),
        _controls(report),
        *(_table(table) for table in report.tables),
        _sheets(report),
        _notes(report),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>{_text(report.title)}</title>\n<style>\n{STYLE.read_text(encoding='utf-8')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _head(report: Report) -> str:
    facts = "".join(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in report.facts)
    return f'<header><h1>{_text(report.title)}</h1><dl class="facts">{facts}</dl></header>'


def _findings(report: Report) -> str:
    if not report.findings:
        return ""
    items = "".join(f"<li>{_text(finding)}</li>" for finding in report.findings)
    return _section("In short", f'<ul class="findings">{items}</ul>')


def _results(report: Report) -> str:
    """The table of contestants, one block for each k, the best by the headline on top."""
    if not report.contestants:
        return ""
    note = "Bars show the headline with its 95 % interval, which draws prompts and not single pictures."
    return _section("Results", f'<p class="quiet">{note}</p>{_entries(report, report.contestants)}')


def _controls(report: Report) -> str:
    if not report.controls:
        return ""
    note = "What the numbers are to be read against. A method has to beat the base and each LoRA alone."
    return _section("Controls", f'<p class="quiet">{note}</p>{_entries(report, report.controls)}')


def _entries(report: Report, entries: Sequence[Entry]) -> str:
    """Method, headline, n and cost stand together; the other measures follow."""
    names, costs = report.measure_names(entries), cost_columns(entries)
    titles = {measure.name: measure.title for entry in entries for measure in entry.measures}
    head = ["<th>method</th>", *(f"<th>{_text(titles[name])}</th>" for name in names)]
    head[2:2] = ['<th class="n">n</th>', *(f"<th>{_text(title)}</th>" for title in costs.values())]
    rows: list[str] = []
    for k in sorted({entry.k for entry in entries}, key=lambda k: k or 0):
        members = [entry for entry in entries if entry.k == k]
        if k is not None:
            rows.append(f'<tr class="block"><th colspan="{len(head)}">k = {k}</th></tr>')
        for entry in sorted(members, key=lambda entry: _rank(entry, report.headline)):
            rows.append(_entry_row(report, entry, names, list(costs)))
    table = f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return f'<div class="wide">{table}</div>'


def _entry_row(report: Report, entry: Entry, names: Sequence[str], costs: Sequence[str]) -> str:
    mark = f'<i style="background:{_colour(colours(report).get(entry.label))}"></i>'
    n = max((measure.n or 0 for measure in entry.measures), default=0)
    cells = [_measure_cell(entry.measure(name), bar=name == report.headline) for name in names]
    cells[1:1] = [f'<td class="n">{n}</td>', *(f"<td>{_text(cost_text(entry, name))}</td>" for name in costs)]
    return f'<tr><th scope="row">{mark}{_text(entry.label)}</th>{"".join(cells)}</tr>'


def _colour(of_palette: str | None) -> str:
    return "var(--quiet)" if of_palette is None else f"var(--m{PALETTE.index(of_palette)})"


def _rank(entry: Entry, name: str) -> tuple[float, str]:
    measure = entry.measure(name)
    if measure is None:
        return float("inf"), entry.label
    return (measure.value if measure.higher_is_better is False else -measure.value), entry.label


def _measure_cell(measure: Measure | None, *, bar: bool) -> str:
    if measure is None:
        return "<td></td>"
    interval = f"<small>{span(measure)}</small>"
    drawn = _bar(measure) if bar and measure.is_share else ""
    return f"<td><b>{figure(measure)}</b> {interval}{drawn}</td>"


def _bar(measure: Measure) -> str:
    """A share on a track from 0 to 1, with its interval."""
    low = measure.value if measure.ci_low is None else measure.ci_low
    high = measure.value if measure.ci_high is None else measure.ci_high
    return (
        f'<span class="bar"><span style="left:{low:.2%};width:{max(high - low, 0.004):.2%}"></span>'
        f'<em style="left:{measure.value:.2%}"></em></span>'
    )


def _plots(report: Report) -> str:
    made = plots_of(report)
    if not made:
        return ""
    drawn = "".join(f"<figure>{svg}<figcaption>{_text(title)}</figcaption></figure>" for title, svg in made)
    return _section("Plots", f'<div class="plots">{drawn}</div>')


def _concepts(report: Report) -> str:
    """How often each concept is there, by entry: darker is more often."""
    entries = [entry for entry in report.contestants if entry.concepts]
    names = sorted({name for entry in entries for name in entry.concepts})
    if len(entries) < 2 or not names:
        return ""
    head = "".join(f'<th class="turned"><span>{_text(name)}</span></th>' for name in names)
    rows = ""
    for entry in sorted(entries, key=lambda entry: (entry.k or 0, entry.label)):
        cells = "".join(_heat(entry.concepts.get(name)) for name in names)
        k = "" if entry.k is None else f" <small>k = {entry.k}</small>"
        rows += f'<tr><th scope="row">{_text(entry.label)}{k}</th>{cells}</tr>'
    table = f'<table class="heat"><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return _section(
        "Concepts, one by one", f'<p class="quiet">Share of pictures that show each.</p><div class="wide">{table}</div>'
    )


def _heat(value: float | None) -> str:
    if value is None:
        return "<td></td>"
    tone = "strong" if value > 0.55 else ""
    return f'<td class="{tone}" style="--share:{value:.3f}">{value:.2f}</td>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in table.columns)
    rows = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    note = f'<p class="quiet">{_text(table.note)}</p>' if table.note else ""
    drawn = f'<div class="wide"><table class="plain"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    if len(table.rows) > OPEN_ROWS:
        drawn = f"<details><summary>{len(table.rows)} rows</summary>{drawn}</details>"
    return _section(table.title, note + drawn)


def _sheets(report: Report) -> str:
    if not report.sheets:
        return ""
    note = (
        "Drawn at random, never the best ones; under each, the concepts that the judge saw or missed, and the prompt."
    )
    drawn = "".join(map(_sheet, report.sheets))
    return _section("Pictures", f'<p class="quiet">{note}</p>{drawn}')


def _sheet(sheet: Sheet) -> str:
    tiles = "".join(map(_tile, sheet.tiles))
    return f'<h3>{_text(sheet.title)} <small>{_text(sheet.note)}</small></h3><div class="sheet">{tiles}</div>'


def _tile(tile: Tile) -> str:
    marks = "".join(
        f'<span class="{"there" if there else "absent"}">{"✓" if there else "✗"} {_text(what)}</span>'
        for what, there in tile.marks
    )
    caption = f"<small>{_text(tile.caption)}</small>" if tile.caption else ""
    return (
        f'<figure><img src="{html.escape(tile.url)}" alt="{_text(tile.prompt)}">'
        f"<figcaption><p>{marks}</p><p>{_text(tile.prompt)}</p>{caption}</figcaption></figure>"
    )


def _notes(report: Report) -> str:
    items = "".join(f"<li>{_text(note)}</li>" for note in report.notes)
    command = f"<p>Made again by</p><pre>{_text(report.command)}</pre>" if report.command else ""
    listed = f"<ul>{items}</ul>" if items else ""
    return _section("What has to be said", listed + command) if listed or command else ""


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_text(title)}</h2>{body}</section>"


def _text(value: object) -> str:
    return html.escape(str(value), quote=True)
