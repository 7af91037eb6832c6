"""One file of a whole fusion: the updates that a plan runs live, added up, cut to a rank and weighed against it.

What is written is in FedSVD's form (`canonical.orthonormal_down`). Errors are relative Frobenius norms over groups of
layers: `error` is the distance of what the file holds, rounded to its number format, from the live fusion; `change` is
that of the live fusion from the plain sum of the adapters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.errors import AdapterMatchError, SettingError
from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import Gates, StepState
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.weight_space.canonical import canonical, orthonormal_down
from lora_loom.pipelines.weight_space.layers import Layer, adapter_of, layers_of, recipe_of
from lora_loom.pipelines.weight_space.norms import distance, norm
from lora_loom.pipelines.weight_space.stack import stack

GROUPS = (("attn2", "cross-attention"), ("attn", "attention"), ("ff", "feed-forward"), ("mlp", "feed-forward"))
MAX_ROUNDING = 0.01  # share of an update that its number format may cost


@dataclass(frozen=True)
class GroupError:
    """The layers of one kind in one component: how many, their largest rank, and the two relative errors."""

    component: str
    group: str
    layers: int
    rank: int
    error: float
    change: float


@dataclass(frozen=True)
class Exported:
    """The fusion as one adapter, with its error as a whole and by groups."""

    adapter: Adapter
    error: float
    change: float
    groups: tuple[GroupError, ...]
    recipe: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The errors and the recipe as JSON values."""
        groups = [asdict(group) for group in self.groups]
        return {"error": self.error, "change": self.change, "groups": groups, "recipe": dict(self.recipe)}


@dataclass
class _Sums:
    """Squared norms over the layers of a group."""

    layers: int = 0
    rank: int = 0
    lost: float = 0.0
    moved: float = 0.0
    live: float = 0.0
    plain: float = 0.0


def exported(
    method: FusionMethod,
    choices: tuple[AdapterChoice, ...],
    sources: Mapping[str, Adapter],
    *,
    name: str,
    rank: int | None = None,
    dtype: torch.dtype = torch.float32,
    text_strength: float = 1.0,
) -> Exported:
    """What `method` draws with, as one adapter called `name` of at most `rank` ranks a layer (None: as many as it has).

    `text_strength` scales the parts on the text encoders before anything is fused. Raises SettingError for a method
    whose fusion changes while it draws or that runs several passes, AdapterMatchError where nothing is left to write
    or the number format costs an update more than a hundredth.
    """
    for adapter in sources.values():
        adapter.check_additive()
    sources = {each: _with_text(adapter, text_strength) for each, adapter in sources.items()}
    strengths = {choice.name: choice.strength for choice in choices}
    live, gates = _live(method, choices, sources)
    plain = {(layer.component, layer.path): layer for layer in layers_of(sources, strengths)}
    made: dict[str, dict[str, LoraFactors]] = {}
    sums: dict[tuple[str, str], _Sums] = {}
    for layer in layers_of(live, gates):
        whole = stack(layer.updates)
        form = canonical(whole)
        kept = orthonormal_down(form if rank is None else form.cut(rank))
        written = LoraFactors(kept.down.to(dtype).float(), kept.up.to(dtype).float())
        _check_rounding(layer, kept, written, form.norm, dtype)
        made.setdefault(layer.component, {})[layer.path] = written
        group = sums.setdefault((layer.component, _group(layer)), _Sums())
        unfused = stack(plain[layer.component, layer.path].updates)
        group.layers += 1
        group.rank = max(group.rank, written.rank)
        group.lost += distance(written, whole) ** 2
        group.moved += distance(whole, unfused) ** 2
        group.live += form.norm**2
        group.plain += norm(unfused) ** 2
    if not made:
        raise AdapterMatchError(
            "there is nothing to merge",
            expected="at least one LoRA with a strength other than zero",
            found=", ".join(f"{each} at {strength:g}" for each, strength in strengths.items()) or "none",
        )
    recipe = recipe_of(method.name, method.settings, strengths, sources) | {"rank": rank}
    if text_strength != 1.0:
        recipe["text_strength"] = text_strength
    return Exported(
        adapter=adapter_of(name, made, sources, recipe),
        error=_ratio(sum(each.lost for each in sums.values()), sum(each.live for each in sums.values())),
        change=_ratio(sum(each.moved for each in sums.values()), sum(each.plain for each in sums.values())),
        groups=tuple(
            GroupError(component, group, of.layers, of.rank, _ratio(of.lost, of.live), _ratio(of.moved, of.plain))
            for (component, group), of in sums.items()
        ),
        recipe=recipe,
    )


def _live(
    method: FusionMethod, choices: tuple[AdapterChoice, ...], sources: Mapping[str, Adapter]
) -> tuple[Mapping[str, Adapter], Gates]:
    """The adapters that the method's plan attaches and the gates that it has them under, the same at every step."""
    plan = method.plan(choices, num_inference_steps=20)
    sample = torch.zeros(1)
    steps = [plan.schedule(StepState(index, 20, index / 20, 1000.0 - 50 * index, sample)) for index in range(20)]
    alike = all(list(passes) == list(steps[0]) for passes in steps)
    if not alike or len(steps[0]) > 1 or plan.layer_rule is not None or steps[0][0].text_gates is not None:
        raise SettingError(
            f"{method.name} cannot be written into one file",
            expected="a method that fuses the weights: stack, svd, ties, dare, lego or lion",
            found=f"{method.title}, whose fusion happens while it draws",
        )
    return sources if plan.derive is None else plan.derive(sources), steps[0][0].gates


def _with_text(adapter: Adapter, strength: float) -> Adapter:
    if strength == 1.0:
        return adapter
    encoders = {
        encoder: {path: each.scaled(strength) for path, each in layers.items()}
        for encoder, layers in adapter.text_encoders.items()
    }
    return replace(adapter, text_encoders=encoders if strength else {}, sha256=f"{adapter.sha256} text {strength:g}")


def _check_rounding(layer: Layer, exact: LoraFactors, written: LoraFactors, size: float, dtype: torch.dtype) -> None:
    lost = distance(exact, written)
    if not math.isfinite(lost) or lost > MAX_ROUNDING * size:
        raise AdapterMatchError(
            f"{layer.path} does not fit into {str(dtype).removeprefix('torch.')}",
            expected=f"a rounding of less than {MAX_ROUNDING:.0%} of the update",
            found=f"{lost / size:.1%}" if math.isfinite(lost) and size else "an overflow",
            remedy="Write float32.",
        )


def _group(layer: Layer) -> str:
    parts = layer.path.split(".")
    for sign, group in GROUPS:
        if any(part.startswith(sign) for part in parts):
            return group
    is_convolution = layer.updates[0].factors.down.ndim == 4
    return "convolution" if is_convolution else "other"


def _ratio(part: float, whole: float) -> float:
    return math.sqrt(part / whole) if whole else math.inf if part else 0.0
