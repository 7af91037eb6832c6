"""One click on a remedy: the stack, method and settings that it stands for, and whether they are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lora_loom.pipelines.forecast.report import Remedy
from lora_loom.pipelines.registry import methods
from lora_loom.studio.forecast.forecasts import StackForecast
from lora_loom.studio.settings_form import form
from lora_loom.studio.ui.stack import StackRow

PLAIN = "merge"  # remedies that only change strengths name it; they hold for whatever method is chosen


def remedied(stacked: Sequence[StackRow], remedy: Remedy, forecast: StackForecast) -> list[StackRow]:
    """The stack with the remedy's strengths and its factors by block on top of those there are.

    A LoRA that the remedy leaves out is switched off; one that the forecast left out stays as it is.
    """
    chosen = {forecast.names[each.name]: each for each in remedy.adapters}
    examined = {forecast.names[each.name] for each in _examined(forecast)}
    found: list[StackRow] = []
    for one in stacked:
        if (choice := chosen.get(one.name)) is not None and one.on:
            own = one.choice.blocks
            blocks = {**own, **{block: own.get(block, 1.0) * factor for block, factor in choice.blocks.items()}}
            one = StackRow.of(
                replace(one.choice, strength=choice.strength, blocks=blocks), sha256=one.sha256, expanded=one.expanded
            )
        elif one.name in examined:
            one = replace(one, on=False)
        found.append(one)
    return found


def method_values(remedy: Remedy) -> dict[str, Any]:
    """The form's values for the remedy's method, all of its settings included; nothing where the method stays."""
    if remedy.method == PLAIN:
        return {}
    fields = form(methods()[remedy.method])
    settings = {field.name: remedy.settings.get(field.name, field.default) for field in fields}
    return {"method": remedy.method, **{f"{remedy.method}.{name}": value for name, value in settings.items()}}


def offered(forecast: StackForecast, stacked: Sequence[StackRow]) -> list[tuple[int, Remedy]]:
    """The remedies with their numbers, without those that hold back a block which is held back already."""
    assert forecast.report is not None
    held = {one.name: {block for block, factor in one.choice.blocks.items() if factor < 1} for one in stacked}
    return [
        (index, remedy)
        for index, remedy in enumerate(forecast.report.remedies)
        if not any(held.get(forecast.names[each.name], set()) & each.blocks.keys() for each in remedy.adapters)
    ]


def in_use(remedy: Remedy, forecast: StackForecast, stacked: Sequence[StackRow], values: Mapping[str, Any]) -> bool:
    """Whether the stack and the form's `values` are already what the remedy makes of them."""
    wanted = method_values(remedy)
    return remedied(stacked, remedy, forecast) == list(stacked) and all(
        values.get(name) == value for name, value in wanted.items()
    )


def _examined(forecast: StackForecast) -> Sequence[Any]:
    return [each for each in forecast.report.adapters if not each.skipped] if forecast.report else []
