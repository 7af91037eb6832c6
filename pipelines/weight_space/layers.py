"""A set of adapters seen layer by layer, and a new adapter from what a rule made of each layer.

A layer that only some of the adapters have is fused of those. The denoiser and each text encoder are components of
their own: nothing is ever weighed against a layer of another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.receipt import ComponentReceipt, Receipt
from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.weight_space.stack import Weighted

Layers = Mapping[str, Mapping[str, LoraFactors]]  # component -> module path -> factors


@dataclass(frozen=True)
class Layer:
    """One layer of the base with the updates that the adapters `names` have for it, each with its weight."""

    component: str
    path: str
    names: tuple[str, ...]
    updates: tuple[Weighted, ...]

    @property
    def largest_rank(self) -> int:
        return max(factors.rank for _, factors in self.updates)


def layers_of(adapters: Mapping[str, Adapter], strengths: Mapping[str, float]) -> Iterator[Layer]:
    """Every layer that at least one adapter of a strength other than zero has.

    Raises AdapterMatchError where two adapters disagree about the shape of a layer, as those of two bases do, and for a
    DoRA.
    """
    active = {name: adapter for name, adapter in adapters.items() if strengths.get(name)}
    for adapter in active.values():
        adapter.check_additive()
    components = dict.fromkeys(component for adapter in active.values() for component in adapter.components)
    for component in components:
        having = {name: adapter.components.get(component, {}) for name, adapter in active.items()}
        for path in dict.fromkeys(path for layers in having.values() for path in layers):
            names = tuple(name for name, layers in having.items() if path in layers)
            updates = tuple(Weighted(strengths[name], having[name][path]) for name in names)
            _check_one_shape(component, path, names, updates)
            yield Layer(component, path, names, updates)


def adapter_of(name: str, layers: Layers, sources: Mapping[str, Adapter], recipe: Mapping[str, Any]) -> Adapter:
    """The adapter that holds these layers; `recipe` says in JSON values how they came about, hashes of the sources
    included, and gives the adapter its own hash."""
    text = json.dumps(recipe, sort_keys=True)
    families = dict.fromkeys(_family(adapter) for adapter in sources.values())
    receipt = Receipt(
        file=name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        dialect="fused",
        base_family=next(iter(families), "unknown"),
        base_family_why=f"{', '.join(sources)} are",
        target_family=next((each.receipt.target_family for each in sources.values()), ""),
        components={component: _receipt(factors) for component, factors in layers.items() if factors},
    )
    encoders = {component: factors for component, factors in layers.items() if component != "denoiser" and factors}
    return Adapter(name, layers.get("denoiser", {}), encoders, receipt, receipt.sha256, {"loom.recipe": text})


def recipe_of(
    method: str, settings: Mapping[str, Any], strengths: Mapping[str, float], sources: Mapping[str, Adapter]
) -> dict[str, Any]:
    """What a fusion was made of and how, as JSON values."""
    of = [{"name": name, "sha256": sources[name].sha256, "strength": each} for name, each in strengths.items()]
    return {"method": method, "settings": dict(settings), "adapters": of}


def _check_one_shape(component: str, path: str, names: tuple[str, ...], updates: tuple[Weighted, ...]) -> None:
    shapes = [(factors.up.shape[0], *factors.down.shape[1:]) for _, factors in updates]
    if len(set(shapes)) > 1:
        found = ", ".join(f"{name} {list(shape)}" for name, shape in zip(names, shapes, strict=True))
        raise AdapterMatchError(
            f"{' and '.join(names)} are for different bases",
            expected=f"one shape of {path} in the {component}",
            found=found,
            remedy="Fuse LoRAs of one base model only.",
        )


def _receipt(factors: Mapping[str, LoraFactors]) -> ComponentReceipt:
    ranks = [each.rank for each in factors.values()]
    extremes = (min(ranks), max(ranks))
    return ComponentReceipt(
        matched=tuple(factors),
        kinds={"lora": len(factors)},
        rank=extremes,
        factor_rank=extremes,
        alpha=(float(extremes[0]), float(extremes[1])),
        scale=(1.0, 1.0),
    )


def _family(adapter: Adapter) -> str:
    return adapter.receipt.target_family or adapter.receipt.base_family
