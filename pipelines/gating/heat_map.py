"""HeatMap: how far a gate opened, by layer, step and adapter, for a person to look at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class HeatMap:
    """Mean gates over pictures and tokens: `values[layer][step][adapter]`, None where an adapter has no such layer.

    `layers` are module paths in the order of the model, `progress` says how far each step is, in [0, 1]. `gate` names
    the file that decided; empty where there was none for the base, and every gate 1.
    """

    gate: str
    layers: tuple[str, ...]
    progress: tuple[float, ...]
    adapters: tuple[str, ...]
    values: tuple[tuple[tuple[float | None, ...], ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """The map as JSON values."""
        return {
            "gate": self.gate,
            "layers": list(self.layers),
            "progress": list(self.progress),
            "adapters": list(self.adapters),
            "values": [[list(step) for step in layer] for layer in self.values],
        }


class HeatLog:
    """Adds up mean gates while a run draws; numbers stay on the device until someone asks."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._progress: dict[int, float] = {}
        self._sums: dict[tuple[str, int, tuple[str, ...]], tuple[Tensor, int]] = {}

    def note(self, path: str, place: int, names: tuple[str, ...], step: int, progress: float, gates: Tensor) -> None:
        """Gates [b t N] of the adapters `names` at a layer in step `step`."""
        self._places[path] = place
        self._progress[step] = progress
        total, times = self._sums.get((path, step, names), (torch.zeros(len(names), device=gates.device), 0))
        self._sums[path, step, names] = total + gates.detach().mean((0, 1)), times + 1

    def map(self, gate: str, adapters: Sequence[str]) -> HeatMap:
        """All that was noted, for these adapters."""
        layers = tuple(sorted(self._places, key=self._places.__getitem__))
        steps = sorted(self._progress)
        means: dict[tuple[str, int, str], list[float]] = {}
        for (path, step, names), (total, times) in self._sums.items():
            for name, value in zip(names, _floats(total / times), strict=True):
                means.setdefault((path, step, name), []).append(value)
        values = tuple(
            tuple(tuple(_mean(means.get((path, step, name))) for name in adapters) for step in steps) for path in layers
        )
        return HeatMap(gate, layers, tuple(self._progress[step] for step in steps), tuple(adapters), values)


def _floats(values: Tensor) -> Iterable[float]:
    return (float(value) for value in values.cpu())


def _mean(values: list[float] | None) -> float | None:
    return None if values is None else sum(values) / len(values)
