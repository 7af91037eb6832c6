"""The report on a set of adapters from their factors, and beside their base's weights where these are given."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lora_loom.pipelines.adapters.factors import Adapter
from lora_loom.pipelines.forecast import findings as words
from lora_loom.pipelines.forecast.against_base import FUSED, BaseComparison
from lora_loom.pipelines.forecast.base_spectra import BaseSpectra
from lora_loom.pipelines.forecast.layer_place import LayerPlaces
from lora_loom.pipelines.forecast.measured import DENOISER, TEXT, Measured, layer_forms, measured
from lora_loom.pipelines.forecast.overlap import Sums
from lora_loom.pipelines.forecast.remedies import remedies
from lora_loom.pipelines.forecast.report import (
    AdapterReport,
    AgainstBase,
    Cell,
    PairReport,
    Report,
    Stage,
    Together,
    worst,
)
from lora_loom.pipelines.forecast.signals import signals


def examine(
    adapters: Mapping[str, Adapter],
    strengths: Mapping[str, float],
    *,
    places: LayerPlaces | None = None,
    base: BaseSpectra | None = None,
    kinds: Mapping[str, str] | None = None,
    base_name: str = "",
    turn: bool = True,
) -> Report:
    """What to expect of the adapters at these strengths, added up as `merge` does.

    `places` knows the depth of the base (without, the deepest layer of the adapters is taken for its end); `base` its
    weights; `kinds` categories of adapters by name, for advice; `turn` foresees what `lion` would do, which takes most
    of the time. A DoRA and an adapter at strength 0 are named and left out. Raises AdapterMatchError for adapters of
    different bases.
    """
    skipped = {name: why for name, each in adapters.items() if (why := _why_skipped(each, strengths[name]))}
    active = {name: each for name, each in adapters.items() if name not in skipped}
    layers = layer_forms(active, strengths, places)
    comparison = BaseComparison(base, list(active), fused=len(active) > 1) if base is not None else None
    found = measured(list(active), comparison.watch(layers) if comparison else layers, turn=turn and len(active) > 1)
    beside: Mapping[str, AgainstBase] = comparison.all() if comparison else {}
    pairs = tuple(_pair(found, i, j) for j in range(len(active)) for i in range(j))
    together = _together(found, beside.get(FUSED)) if len(active) > 1 else None
    reports = tuple(
        _skipped(name, each, strengths[name], skipped[name])
        if name in skipped
        else _adapter(name, each, strengths[name], found, beside.get(name))
        for name, each in adapters.items()
    )
    return Report(
        adapters=reports,
        pairs=pairs,
        together=together,
        remedies=remedies(found, reports, pairs, together, kinds or {}),
        notes=tuple(f"{name} {why}" for name, why in skipped.items()),
        base=base_name,
    )


def _why_skipped(adapter: Adapter, strength: float) -> str:
    if not strength:
        return "is at strength 0 and does nothing."
    if adapter.dora:
        return (
            f"is a DoRA: it rescales the base's own weights in {len(adapter.dora)} layers, so its factors alone do not "
            "tell what it changes, and it was left out."
        )
    return "" if adapter.components else "changes nothing of this base."


def _adapter(name: str, adapter: Adapter, strength: float, found: Measured, base: AgainstBase | None) -> AdapterReport:
    of = found.adapters[name]
    kind = DENOISER if of.energy else TEXT
    energy = of.energy or of.text_energy
    every = sum((each.energy if kind == DENOISER else each.text_energy) for each in found.adapters.values())
    return AdapterReport(
        name=name,
        strength=strength,
        sha256=adapter.sha256,
        layers=of.layers,
        rank=of.rank,
        effective_rank=of.effective_rank,
        norm=math.sqrt(of.energy),
        text_norm=math.sqrt(of.text_energy),
        dominance=energy / every if every else 0.0,
        groups={group: value / energy for (its, group), value in of.groups.items() if its == kind and energy},
        skipped="",
        base=base,
        findings=tuple(words.base_findings(name, strength, base)),
    )


def _skipped(name: str, adapter: Adapter, strength: float, why: str) -> AdapterReport:
    return AdapterReport(name, strength, adapter.sha256, 0, 0, 0.0, 0.0, 0.0, 0.0, {}, why, None, ())


def _pair(found: Measured, i: int, j: int) -> PairReport:
    a, b = found.names[i], found.names[j]
    denoiser, text = signals(found.whole[DENOISER], i, j), signals(found.whole[TEXT], i, j)
    whole = denoiser if denoiser.energy_a or denoiser.energy_b else text
    cells = tuple(
        Cell(group, depth, _share(sums, found, i, j), signals(sums, i, j))
        for (group, depth), sums in found.cells.items()
        if _energy(sums, i) or _energy(sums, j)
    )
    said = words.pair_findings(a, b, whole)
    said += words.cell_findings(a, b, cells, said)
    if whole is denoiser:
        said += words.text_finding(a, b, text)
    energy = whole.energy_a + whole.energy_b
    return PairReport(
        a=a,
        b=b,
        level=worst(each.level for each in said),
        sentence=words.pair_sentence(a, b, whole, said),
        dominance=(whole.energy_a / energy, whole.energy_b / energy) if energy else (0.0, 0.0),
        whole=whole,
        text=text if text.energy_a or text.energy_b else None,
        cells=cells,
        strip=tuple(_stage(name, found.stages[order, name], found, i, j) for order, name in sorted(found.stages)),
        findings=tuple(said),
    )


def _stage(name: str, sums: Sums, found: Measured, i: int, j: int) -> Stage:
    return Stage(name, words.level_of(signals(sums, i, j)), _share(sums, found, i, j))


def _share(sums: Sums, found: Measured, i: int, j: int) -> float:
    """The mean of two adapters' shares of energy in some layers; text encoders count among themselves."""
    shares: list[float] = []
    for index in (i, j):
        energies = [_energy(each, index) for each in found.whole.values()]
        mine = _energy(sums, index)
        whole = sum(energies)
        shares.append(mine / whole if whole else 0.0)
    return sum(shares) / 2


def _energy(sums: Sums, i: int) -> float:
    return float(sums.of("inner")[i, i])


def _together(found: Measured, base: AgainstBase | None) -> Together:
    kind = DENOISER if DENOISER in found.crowds else TEXT
    gram, crowd = found.whole[kind].of("inner"), found.crowds.get(kind)
    largest = float(gram.diagonal().max()) if gram.numel() else 0.0
    whole = math.sqrt(max(float(gram.sum()), 0.0))
    errors = (
        {str(k): math.sqrt(lost / crowd.energy) for k, lost in crowd.lost.items()} if crowd and crowd.energy else {}
    )
    return Together(
        names=found.names,
        gram=tuple(tuple(map(float, row)) for row in gram),
        pressure=whole / math.sqrt(largest) if largest else 0.0,
        interference=crowd.interference / crowd.nuclear if crowd and crowd.nuclear else 0.0,
        capacity_loss=1.0 - crowd.rank / crowd.ranks if crowd and crowd.ranks else 0.0,
        ranks=found.most_ranks,
        truncation=errors,
        base=base,
        findings=(*words.rank_findings(found.most_ranks), *words.base_findings("all together", 1.0, base)),
    )
