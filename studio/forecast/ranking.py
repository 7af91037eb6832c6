"""Remedies in the order of the risk they leave; one that would raise it is not offered.

The risk of a lost concept is foreseen for LoRAs that are added up, so it ranks remedies of strengths and blocks. What
only pictures can tell, as with another method, stands behind those, in the order in which it was found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.forecast.report import Effect, Remedy, Report
from lora_loom.pipelines.forecast.risk import Forecast, features

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.forecast.layer_place import LayerPlaces

RISK = "share of pictures that lack a concept"
NOTHING = 0.005  # a difference in risk that is none


def ranked(
    report: Report, forecast: Forecast, adapters: Mapping[str, Adapter], places: LayerPlaces, denoiser: Any
) -> tuple[Remedy, ...]:
    """The remedies of a report on at least two adapters, each with the risk before and after it where that is known.

    `denoiser` is the base's model, for the names of its blocks.
    """
    before = forecast.risk(features(report))
    known: list[tuple[float, Remedy]] = []
    unknown: list[Remedy] = []
    for remedy in report.remedies:
        after = _risk_after(remedy, forecast, adapters, places, denoiser)
        if after is None:
            unknown.append(remedy)
        elif after <= before + NOTHING:
            known.append((after, replace(remedy, effects=(Effect(RISK, before, after), *remedy.effects))))
    known.sort(key=lambda each: each[0])
    return (*(remedy for _, remedy in known), *unknown)


def _risk_after(
    remedy: Remedy, forecast: Forecast, adapters: Mapping[str, Adapter], places: LayerPlaces, denoiser: Any
) -> float | None:
    from lora_loom.pipelines.forecast.examine import examine
    from lora_loom.pipelines.runtime.block_groups import scaled_by_blocks

    if remedy.method != forecast.method or len(remedy.adapters) < 2:
        return None
    chosen = {each.name: adapters[each.name] for each in remedy.adapters}
    strengths = {each.name: each.strength for each in remedy.adapters}
    scaled = scaled_by_blocks(denoiser, chosen, [each for each in remedy.adapters if each.blocks])
    found = examine({**chosen, **scaled}, strengths, places=places, turn=False)
    return None if found.together is None else forecast.risk(features(found))
