"""Everything that is summed up over the layers of a set of adapters, in one pass that keeps no layer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from lora_loom.pipelines.adapters.factors import Adapter
from lora_loom.pipelines.forecast.crowding import NO_CROWDING, Crowding, crowding
from lora_loom.pipelines.forecast.layer_place import LayerPlace, LayerPlaces
from lora_loom.pipelines.forecast.overlap import Sums, overlaps, shared_coordinates
from lora_loom.pipelines.weight_space.canonical import Spectrum, canonical
from lora_loom.pipelines.weight_space.layers import Layer, layers_of
from lora_loom.pipelines.weight_space.lion import norm_guard
from lora_loom.pipelines.weight_space.orthogonalise import orthogonal_outputs

DENOISER, TEXT = "denoiser", "text"
BETAS = (0.5, 1.0)  # shares of the way to orthogonal outputs that are tried


@dataclass
class OfAdapter:
    """What belongs to one adapter; `norms` are |w dW| by component and path."""

    layers: int = 0
    rank: int = 0
    energy: float = 0.0
    rank_energy: float = 0.0
    text_energy: float = 0.0
    groups: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    norms: dict[str, dict[str, float]] = field(default_factory=dict[str, dict[str, float]])

    @property
    def effective_rank(self) -> float:
        whole = self.energy + self.text_energy
        return self.rank_energy / whole if whole else 0.0


@dataclass
class Measured:
    """The sums of a set, adapters in the order of `names`. `turned` are those of `whole` after LiON, by beta."""

    names: tuple[str, ...]
    whole: dict[str, Sums]  # by DENOISER and TEXT
    cells: dict[tuple[str, str], Sums] = field(default_factory=dict[tuple[str, str], Sums])
    stages: dict[tuple[tuple[int, ...], str], Sums] = field(default_factory=dict[tuple[tuple[int, ...], str], Sums])
    turned: dict[float, Sums] = field(default_factory=dict[float, Sums])
    crowds: dict[str, Crowding] = field(default_factory=dict[str, Crowding])  # by DENOISER and TEXT
    most_ranks: int = 0
    adapters: dict[str, OfAdapter] = field(default_factory=dict[str, OfAdapter])


@dataclass(frozen=True)
class LayerForms:
    """One layer with the canonical forms of its updates, none of them zero, and their strengths."""

    layer: Layer
    place: LayerPlace
    forms: tuple[Spectrum, ...]
    weights: tuple[float, ...]
    members: tuple[int, ...]  # numbers of the adapters
    shape: tuple[int, int]  # [m n]


def layer_forms(
    adapters: Mapping[str, Adapter], strengths: Mapping[str, float], places: LayerPlaces | None = None
) -> Iterable[LayerForms]:
    """The layers that any adapter changes, one after the other; raises what `layers_of` raises."""
    places = places or LayerPlaces(paths_of(adapters.values()))
    number = {name: index for index, name in enumerate(adapters)}
    for layer in layers_of(adapters, strengths):
        kept = [
            (form, weight, number[name])
            for name, (weight, factors) in zip(layer.names, layer.updates, strict=True)
            if (form := canonical(factors)).rank
        ]
        if not kept:
            continue
        down = layer.updates[0].factors.down
        place = places.of(layer.component, layer.path, convolution=math.prod(down.shape[2:]) > 1)
        shape = (layer.updates[0].factors.up.shape[0], math.prod(down.shape[1:]))
        forms, weights, members = zip(*kept, strict=True)
        yield LayerForms(layer, place, forms, weights, members, shape)


def paths_of(adapters: Iterable[Adapter]) -> dict[str, list[str]]:
    """The module paths by component that any of the adapters has."""
    found: dict[str, dict[str, None]] = {}
    for adapter in adapters:
        for component, factors in adapter.components.items():
            found.setdefault(component, {}).update(dict.fromkeys(factors))
    return {component: list(paths) for component, paths in found.items()}


def measured(names: Sequence[str], layers: Iterable[LayerForms], *, turn: bool = True) -> Measured:
    """The sums over `layers`; with `turn` also what `lion` would make of them."""
    n = len(names)
    found = Measured(tuple(names), {DENOISER: Sums.zero(n), TEXT: Sums.zero(n)})
    found.adapters = {name: OfAdapter() for name in names}
    found.turned = {beta: Sums.zero(n) for beta in BETAS} if turn else {}
    for each in layers:
        _add_adapters(found, each)
        coordinates = shared_coordinates(each.forms, each.weights)
        sums = overlaps(coordinates, each.members, n, each.shape)
        kind = DENOISER if each.layer.component == "denoiser" else TEXT
        found.whole[kind] += sums
        cell = each.place.group, each.place.depth
        stage = (int(kind == DENOISER), *each.place.order), each.place.stage
        found.cells[cell] = found.cells.get(cell, Sums.zero(n)) + sums
        found.stages[stage] = found.stages.get(stage, Sums.zero(n)) + sums
        found.crowds[kind] = found.crowds.get(kind, NO_CROWDING) + crowding(coordinates)
        found.most_ranks = max(found.most_ranks, sum(form.rank for form in each.forms))
        for beta in found.turned if kind == DENOISER else ():
            ones = [1.0] * len(coordinates)
            apart = orthogonal_outputs(coordinates, ones, ones, beta)
            rho = norm_guard(apart, ones) ** beta
            apart = [replace(form, s=form.s * rho) for form in apart]
            found.turned[beta] += overlaps(apart, each.members, n, each.shape)
    return found


def effective_rank(form: Spectrum) -> float:
    """exp of the entropy of the shares of energy S^2 / |S|^2 of an update that is not zero."""
    shares = form.s.square() / form.s.square().sum()
    present = shares[shares > 0]
    return float(torch.exp(-(present * present.log()).sum()))


def _add_adapters(found: Measured, each: LayerForms) -> None:
    for form, weight, member in zip(each.forms, each.weights, each.members, strict=True):
        of = found.adapters[found.names[member]]
        energy = (weight * form.norm) ** 2
        of.layers += 1
        of.rank = max(of.rank, form.rank)
        of.rank_energy += energy * effective_rank(form)
        if each.layer.component == "denoiser":
            of.energy += energy
        else:
            of.text_energy += energy
        key = (DENOISER if each.layer.component == "denoiser" else TEXT, each.place.group)
        of.groups[key] = of.groups.get(key, 0.0) + energy
        of.norms.setdefault(each.layer.component, {})[each.layer.path] = math.sqrt(energy)
