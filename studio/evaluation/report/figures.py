"""Numbers as they stand in a report: figures, intervals and cost."""

from __future__ import annotations

from collections.abc import Sequence

from lora_loom.studio.evaluation.report.content import Entry, Measure

COSTS = {
    "passes_per_step": "passes / step",
    "replays_per_step": "replays / step",
    "seconds": "s / picture",
    "peak_memory_bytes": "memory",
}


def figure(measure: Measure) -> str:
    """The value: shares with three places, others with four digits."""
    return f"{measure.value:.3f}" if measure.is_share else f"{measure.value:.4g}"


def span(measure: Measure) -> str:
    """The interval in the form of the value."""
    if measure.ci_low is None or measure.ci_high is None:
        return ""
    form = "{:.3f}" if measure.is_share else "{:.3g}"
    return f"{form.format(measure.ci_low)} – {form.format(measure.ci_high)}"


def cost_columns(entries: Sequence[Entry]) -> dict[str, str]:
    """The costs that at least one entry tells and that are not zero for all, with their titles."""
    return {name: title for name, title in COSTS.items() if any(getattr(entry.cost, name) for entry in entries)}


def cost_text(entry: Entry, name: str) -> str:
    value = getattr(entry.cost, name)
    if value is None:
        return ""
    if name == "peak_memory_bytes":
        return f"{value / 2**20:,.0f} MB"
    return f"{value:.3g}"
