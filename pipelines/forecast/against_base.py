"""Adapters, and their sum, beside the base's own weights: how large they are and whether they override it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lora_loom.pipelines.forecast.base_spectra import BaseSpectra
from lora_loom.pipelines.forecast.intruders import IntruderProbe
from lora_loom.pipelines.forecast.measured import LayerForms
from lora_loom.pipelines.forecast.report import AgainstBase
from lora_loom.pipelines.weight_space.canonical import Spectrum, canonical
from lora_loom.pipelines.weight_space.stack import stack

FUSED = ""  # the name of the sum of all


@dataclass
class _Sums:
    energy: float = 0.0
    base_energy: float = 0.0
    sigma_ratio: float = 0.0
    intruders: int = 0
    intruded: int = 0
    safe: dict[str, float] = field(default_factory=dict[str, float])
    unsafe: dict[str, float] = field(default_factory=dict[str, float])

    def finished(self) -> AgainstBase:
        layer = min(self.safe, key=lambda key: self.safe[key]) if self.safe else ""
        return AgainstBase(
            relative_norm=math.sqrt(self.energy / self.base_energy) if self.base_energy else 0.0,
            sigma_ratio=self.sigma_ratio,
            intruders=self.intruders,
            intruded=self.intruded,
            safe_strength=self.safe[layer] if layer else None,
            safe_layer=layer.partition(":")[2],
            unsafe=self.unsafe,
        )


class BaseComparison:
    """Looks at layers as they pass by and sums up; `fused` asks for the sum of all as well."""

    def __init__(self, base: BaseSpectra, names: Sequence[str], *, fused: bool) -> None:
        self._base, self._names = base, names
        self._sums = {name: _Sums() for name in (*names, *([FUSED] if fused else []))}

    def watch(self, layers: Iterable[LayerForms]) -> Iterator[LayerForms]:
        """The same layers, looked at."""
        for each in layers:
            for member, weight, form in zip(each.members, each.weights, each.forms, strict=True):
                self._look(self._sums[self._names[member]], each, weight, form)
            if FUSED in self._sums:
                self._look(self._sums[FUSED], each, 1.0, canonical(stack(each.layer.updates)))
            yield each

    def of(self, name: str) -> AgainstBase:
        """What was found of an adapter, or of the sum by `FUSED`."""
        return self._sums[name].finished()

    def all(self) -> Mapping[str, AgainstBase]:
        return {name: self.of(name) for name in self._sums}

    def _look(self, sums: _Sums, each: LayerForms, strength: float, form: Spectrum) -> None:
        component, path = each.layer.component, each.layer.path
        own = self._base.of(component, path)
        sums.energy += (strength * form.norm) ** 2
        sums.base_energy += own.norm**2
        if not form.rank or not own.norm:
            return
        sums.sigma_ratio = max(sums.sigma_ratio, abs(strength) * float(form.s[0]) / float(own.s[0]))
        probe = IntruderProbe(self._base.weight(component, path), own, form)
        new = max(probe.intruders(strength) - probe.intruders(0.0), 0)
        sums.intruders += new
        sums.intruded += bool(new)
        safe = probe.safe_strength(1.0 if strength >= 0 else -1.0)
        if safe is not None:
            sums.safe[f"{component}:{path}"] = safe
            if abs(strength) > safe:
                sums.unsafe[f"{component}:{path}"] = safe
