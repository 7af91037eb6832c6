"""The report on a set of adapters, as plain data that survives JSON."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, cast

from lora_loom.pipelines.forecast.signals import Signals
from lora_loom.pipelines.request import AdapterChoice, SettingValue

Level = Literal["green", "amber", "red"]
LEVELS: tuple[Level, ...] = ("green", "amber", "red")


@dataclass(frozen=True)
class Finding:
    """Something to know. `label` is a short name for it, `where` empty for everywhere, `value` what was measured."""

    label: str
    level: Level
    where: str
    value: float
    sentence: str


@dataclass(frozen=True)
class AgainstBase:
    """An adapter, or the fused set, beside the base's own weights, over the layers that it has.

    `relative_norm` is |w dW| / |W_0|, `sigma_ratio` the largest sigma_1(w dW) / sigma_1(W_0) of a layer. `intruders`
    are new leading directions in all layers, `intruded` the layers that have any. `safe_strength` is the largest
    strength without one in any layer, None if there is none up to `intruders.MOST`; for the fused set it is a factor on
    all. `unsafe` holds the safe strengths of the layers where the strength is above, by component and path.
    """

    relative_norm: float
    sigma_ratio: float
    intruders: int
    intruded: int
    safe_strength: float | None
    safe_layer: str
    unsafe: Mapping[str, float]


@dataclass(frozen=True)
class AdapterReport:
    """One adapter at its strength. `norm` is |w dW| over the denoiser, `text_norm` over all text encoders.

    `rank` is the largest of a layer, `effective_rank` the mean of exp(entropy of S^2 / |S|^2), weighted by energy.
    `groups` are shares of the denoiser's energy, or where it has none there, of the text encoders'. `dominance` is its
    share of the energy of all. With a `skipped` reason nothing was measured.
    """

    name: str
    strength: float
    sha256: str
    layers: int
    rank: int
    effective_rank: float
    norm: float
    text_norm: float
    dominance: float
    groups: Mapping[str, float]
    skipped: str
    base: AgainstBase | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Cell:
    """The signals of a pair in one group of layers at one depth; `share` is its mean share of their energies."""

    group: str
    depth: str
    share: float
    signals: Signals


@dataclass(frozen=True)
class Stage:
    """One step on the way through the model and how the pair gets along there."""

    name: str
    level: Level
    share: float


@dataclass(frozen=True)
class PairReport:
    """Two adapters. `whole` is over the denoiser (or the text encoders, where neither has it), `text` over these."""

    a: str
    b: str
    level: Level
    sentence: str
    dominance: tuple[float, float]
    whole: Signals
    text: Signals | None
    cells: tuple[Cell, ...]
    strip: tuple[Stage, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Together:
    """All adapters at once. `gram` is that of the weighted updates, in the order of `names`.

    `pressure` is the norm of their sum over that of the largest alone. `interference` is TSV's measure over the sum of
    singular values, `capacity_loss` 1 - rank of the sum / sum of the ranks, `ranks` the largest sum of ranks
    of a layer, `truncation` the relative error of the best rank k, by k. `loss_risk` is how likely a picture lacks one
    of their concepts, where a forecast was fitted for this base, with `loss_risk_from` saying on what.
    """

    names: tuple[str, ...]
    gram: tuple[tuple[float, ...], ...]
    pressure: float
    interference: float
    capacity_loss: float
    ranks: int
    truncation: Mapping[str, float]
    base: AgainstBase | None
    findings: tuple[Finding, ...]
    loss_risk: float | None = None
    loss_risk_from: str = ""


@dataclass(frozen=True)
class Effect:
    """One figure that a remedy changes; `what` in words."""

    what: str
    before: float
    after: float


@dataclass(frozen=True)
class Remedy:
    """Something to try instead: adapters with their strengths, a method with its settings, and what that does.

    `effects` follow from the factors; empty where only pictures can tell. `why` is a sentence.
    """

    title: str
    why: str
    adapters: tuple[AdapterChoice, ...]
    method: str
    settings: Mapping[str, SettingValue]
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Report:
    """What is known before drawing. `method` is what the figures of the whole set are for: the plain sum."""

    adapters: tuple[AdapterReport, ...]
    pairs: tuple[PairReport, ...]
    together: Together | None
    remedies: tuple[Remedy, ...]
    notes: tuple[str, ...]
    base: str = ""

    @property
    def level(self) -> Level:
        """The worst of all findings."""
        return worst(
            finding.level
            for part in (*self.adapters, *self.pairs, *([self.together] if self.together else []))
            for finding in part.findings
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return cast("dict[str, Any]", _to_json(self))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Report:
        """The report that `to_dict` wrote."""
        return cast("Report", _from_json(cls, data))


def worst(levels: typing.Iterable[Level]) -> Level:
    """The worst level, green for none."""
    return LEVELS[max((LEVELS.index(level) for level in levels), default=0)]


def _to_json(value: Any) -> Any:
    if isinstance(value, AdapterChoice):
        return value.to_dict()
    if is_dataclass(value):
        return {each.name: _to_json(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _to_json(entry) for key, entry in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [_to_json(entry) for entry in cast("Sequence[Any]", value)]
    return value


def _from_json(kind: Any, value: Any) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if value is None:
        return None
    if origin in (types.UnionType, typing.Union):
        dataclasses = [each for each in inner if is_dataclass(each)]
        return _from_json(dataclasses[0], value) if dataclasses and isinstance(value, Mapping) else value
    if kind is AdapterChoice:
        return AdapterChoice.from_dict(value)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return cast("Any", kind)(**{key: _from_json(hints[key], entry) for key, entry in value.items()})
    if origin is tuple:
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        return tuple(_from_json(each, entry) for each, entry in zip(kinds, value, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {key: _from_json(inner[1], entry) for key, entry in value.items()}
    return value
