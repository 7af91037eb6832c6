"""The plots of a report, as inline SVG in the page's own font and colours, also in the dark."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any

from lora_loom.studio.evaluation.report.content import Entry, Report

# The colours of methods stand for --m0, --m1 ... of the page, which are lighter in the dark.
PALETTE = ("#4f46c8", "#d9772b", "#2a9d8f", "#c2477f", "#8a6d1f", "#3b82c4", "#7a9a3a", "#9259c7", "#b4493f", "#5d6b7a")
INK, GRID = "#010203", "#040506"  # likewise for --ink and --grid
TEXT_SIZE = 9.5


def colours(report: Report) -> dict[str, str]:
    """A colour for each method, the same in all plots."""
    methods = list(dict.fromkeys(entry.label for entry in report.contestants))
    return {method: PALETTE[index % len(PALETTE)] for index, method in enumerate(methods)}


def plots_of(report: Report) -> list[tuple[str, str]]:
    """(what it shows, SVG) for every plot that these entries allow."""
    entries = [entry for entry in report.contestants if entry.measure(report.headline)]
    if not entries:
        return []
    made: list[tuple[str, str]] = []
    for attribute, what in (("passes_per_step", "denoiser passes per step"), ("seconds", "seconds per picture")):
        costed = [entry for entry in entries if getattr(entry.cost, attribute)]
        if len(costed) > 1:
            made.append((f"Quality against cost: {what}", _against_cost(report, costed, attribute, what)))
    sizes = sorted({entry.k for entry in entries if entry.k is not None})
    if len(sizes) > 1:
        made.append(("Quality by number of LoRAs", _by_k(report, entries, sizes)))
    elif len(entries) > 1:
        made.append(("Methods side by side", _side_by_side(report, entries)))
    return made


def _against_cost(report: Report, entries: Sequence[Entry], attribute: str, what: str) -> str:
    """One panel for each k: the headline with its interval over the cost; up and to the left is better."""
    sizes = sorted({entry.k for entry in entries}, key=lambda k: k or 0)
    colour = colours(report)

    def draw(axes: Any) -> None:
        for axis, k in zip(axes, sizes, strict=True):
            points = [entry for entry in entries if entry.k == k]
            for entry in points:
                _point(axis, getattr(entry.cost, attribute), entry, report.headline, colour[entry.label])
            axis.set_xlabel(what)
            axis.set_title("" if k is None else f"k = {k}", loc="left", fontweight="bold", fontsize=TEXT_SIZE + 1)
            axis.margins(x=0.3, y=0.15)
            axis.set_xlim(left=0)
            _limit_share(axis, entries, report.headline)
            _name_points(axis, points, attribute, report.headline, colour)
        axes[0].set_ylabel(_title(entries, report.headline))

    return _figure(draw, panels=len(sizes), salt=attribute)


def _by_k(report: Report, entries: Sequence[Entry], sizes: Sequence[int]) -> str:
    """A line for each method over k, with intervals set slightly apart."""
    colour = colours(report)

    def draw(axes: Any) -> None:
        [axis] = axes
        labels = list(dict.fromkeys(entry.label for entry in entries))
        for index, label in enumerate(labels):
            points = sorted((e for e in entries if e.label == label and e.k is not None), key=lambda e: e.k or 0)
            apart = 0.06 * (index - (len(labels) - 1) / 2)
            xs = [(entry.k or 0) + apart for entry in points]
            ys = [_value(entry, report.headline) for entry in points]
            axis.plot(xs, ys, color=colour[label], linewidth=1.6, label=label)
            for x, entry in zip(xs, points, strict=True):
                _point(axis, x, entry, report.headline, colour[label])
        _limit_share(axis, entries, report.headline)
        axis.set_xticks(list(sizes))
        axis.set_xlabel("k, number of LoRAs")
        axis.set_ylabel(_title(entries, report.headline))
        axis.legend(frameon=False, fontsize=TEXT_SIZE, labelcolor=INK, loc="center left", bbox_to_anchor=(1.01, 0.5))

    return _figure(draw, panels=1, salt="by_k", width=7.2)


def _side_by_side(report: Report, entries: Sequence[Entry]) -> str:
    """One row for each method, the best on top."""
    colour = colours(report)
    ordered = sorted(entries, key=lambda entry: _value(entry, report.headline))

    def draw(axes: Any) -> None:
        [axis] = axes
        for y, entry in enumerate(ordered):
            measure = entry.measure(report.headline)
            if measure is None:
                continue
            if measure.ci_low is not None and measure.ci_high is not None:
                axis.plot([measure.ci_low, measure.ci_high], [y, y], color=colour[entry.label], linewidth=2, alpha=0.55)
            axis.plot([measure.value], [y], "o", color=colour[entry.label], markersize=6)
        axis.set_yticks(range(len(ordered)), [entry.label for entry in ordered])
        axis.set_xlabel(_title(entries, report.headline))
        axis.margins(y=0.12)

    return _figure(draw, panels=1, salt="side_by_side", width=7.2, height=0.9 + 0.34 * len(ordered))


def _point(axis: Any, x: float, entry: Entry, name: str, colour: str) -> None:
    measure = entry.measure(name)
    if measure is None:
        return
    if measure.ci_low is not None and measure.ci_high is not None:
        axis.plot([x, x], [measure.ci_low, measure.ci_high], color=colour, linewidth=1.6, alpha=0.5)
    axis.plot([x], [measure.value], "o" if entry.kind == "method" else "D", color=colour, markersize=5.5)


def _name_points(axis: Any, points: Sequence[Entry], attribute: str, name: str, colour: dict[str, str]) -> None:
    """Names to the right of their points; those of points at about one cost are pushed apart."""
    low, high = axis.get_ylim()
    reach = 0.15 * max(getattr(entry.cost, attribute) for entry in points)
    columns: list[list[Entry]] = []
    for entry in sorted(points, key=lambda entry: getattr(entry.cost, attribute)):
        x = getattr(entry.cost, attribute)
        if columns and x - getattr(columns[-1][0].cost, attribute) <= reach:
            columns[-1].append(entry)
        else:
            columns.append([entry])
    for column in columns:
        ordered = sorted(column, key=lambda entry: (_value(entry, name), entry.label))
        places = _apart([_value(entry, name) for entry in ordered], 0.07 * (high - low))
        for entry, place in zip(ordered, places, strict=True):
            axis.annotate(
                entry.label,
                (getattr(entry.cost, attribute), place),
                xytext=(7, 0),
                textcoords="offset points",
                fontsize=TEXT_SIZE - 1,
                color=colour[entry.label],
                va="center",
                annotation_clip=False,
            )


def _apart(values: Sequence[float], step: float) -> list[float]:
    """Rising values at least `step` from one another, moved as little as possible as a whole."""
    places: list[float] = []
    for value in values:
        places.append(value if not places else max(value, places[-1] + step))
    shift = (sum(places) - sum(values)) / len(values)
    return [place - shift for place in places]


def _limit_share(axis: Any, entries: Sequence[Entry], name: str) -> None:
    """A share has its axis from 0, and never far beyond 1."""
    measures = [measure for entry in entries if (measure := entry.measure(name))]
    if all(measure.is_share for measure in measures):
        top = max(measure.ci_high or measure.value for measure in measures)
        axis.set_ylim(-0.02, min(1.03, top * 1.12 + 0.02))


def _value(entry: Entry, name: str) -> float:
    measure = entry.measure(name)
    return 0.0 if measure is None else measure.value


def _title(entries: Sequence[Entry], name: str) -> str:
    return next((measure.title for entry in entries if (measure := entry.measure(name))), name)


def _figure(
    draw: Callable[[Any], None], *, panels: int, salt: str, width: float | None = None, height: float = 3.2
) -> str:
    """An SVG in which text is text, and ink and grid are the page's."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": "sans-serif",
        "font.size": TEXT_SIZE,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GRID,
        "axes.linewidth": 0.8,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "axes.grid": True,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with rc_context(style):
        figure = Figure(figsize=(width or max(5.0, min(3.0 * panels + 0.6, 12.6)), height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
        draw(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px var(--sans)", svg)
    for index, colour in enumerate(PALETTE):
        svg = svg.replace(colour, f"var(--m{index})")
    return svg.replace(INK, "var(--ink)").replace(GRID, "var(--grid)")
