"""HeatMap: how far a gate opened, by layer, step and adapter, for a person to look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias, cast

from lora_loom.pipelines.forecast.layer_place import LayerPlaces

ROWS, COLUMNS = 12, 10  # of a map that is pooled, so that it fits beside a picture
MOST = 1_000  # names or steps of a map that is read
_DIGITS = 3
Values: TypeAlias = "tuple[tuple[tuple[float | None, ...], ...], ...]"


@dataclass(frozen=True)
class HeatMap:
    """Mean gates over pictures and tokens: `values[layer][step][adapter]`, None where an adapter has no such layer.

    `layers` are module paths in the order of the model, or stages of it where the map is `pooled`; `progress` says how
    far each step is, in [0, 1]. `gate` names the file that decided; empty where there was none for the base, and every
    gate 1. `trained` is False for a gate that never learned anything: it leaves every gate at 1, too.
    """

    gate: str
    layers: tuple[str, ...]
    progress: tuple[float, ...]
    adapters: tuple[str, ...]
    values: Values
    trained: bool = True

    def pooled(self, rows: int = ROWS, columns: int = COLUMNS) -> HeatMap:
        """The map with at most so many stages of the model and so many steps, each the mean of what it holds."""
        places = LayerPlaces({"denoiser": self.layers})
        stages: dict[str, list[int]] = {}
        order: dict[str, tuple[int, ...]] = {}
        for index, path in enumerate(self.layers):
            place = places.of("denoiser", path)
            stages.setdefault(place.stage, []).append(index)
            order[place.stage] = place.order
        names = sorted(stages, key=lambda stage: order[stage])
        parts = _parts(len(names), rows)
        times = _parts(len(self.progress), columns)
        values = tuple(
            tuple(
                tuple(
                    _mean(
                        self.values[layer][step][k] for name in names[part] for layer in stages[name] for step in steps
                    )
                    for k in range(len(self.adapters))
                )
                for steps in (range(len(self.progress))[time] for time in times)
            )
            for part in parts
        )
        return HeatMap(
            self.gate,
            tuple(_span(names[part]) for part in parts),
            tuple(round(self.progress[time][0], _DIGITS) for time in times),
            self.adapters,
            values,
            self.trained,
        )

    def mean(self, adapter: str) -> float | None:
        """The mean gate of an adapter over layers and steps."""
        k = self.adapters.index(adapter)
        return _mean(step[k] for layer in self.values for step in layer)

    def to_dict(self) -> dict[str, Any]:
        """The map as JSON values."""
        return {
            "gate": self.gate,
            "layers": list(self.layers),
            "progress": list(self.progress),
            "adapters": list(self.adapters),
            "values": [[list(step) for step in layer] for layer in self.values],
            "trained": self.trained,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HeatMap:
        """The map that `to_dict` wrote. Raises ValueError for anything else."""
        try:
            layers, progress, adapters = (tuple(data[name]) for name in ("layers", "progress", "adapters"))
            values = tuple(tuple(tuple(step) for step in layer) for layer in data["values"])
            gate, trained = data["gate"], data["trained"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"no map of gates: {error}") from error
        numbers = [number for layer in values for step in layer for number in step if number is not None]
        sound = (
            len(data) == 6
            and all(len(each) <= MOST for each in (layers, progress, adapters))
            and all(isinstance(name, str) for name in (gate, *layers, *adapters))
            and isinstance(trained, bool)
            and all(_is_gate(number) for number in (*progress, *numbers))
            and len(values) == len(layers)
            and all(len(layer) == len(progress) for layer in values)
            and all(len(step) == len(adapters) for layer in values for step in layer)
        )
        if not sound:
            raise ValueError("no map of gates: its parts do not fit together")
        return cls(gate, layers, progress, adapters, cast("Values", values), trained)


def _is_gate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


def _parts(count: int, most: int) -> list[slice]:
    """`count` places in at most so many parts, as even as can be."""
    parts = min(count, most)
    ends = [count * part // parts for part in range(parts + 1)] if parts else [0]
    return [slice(start, end) for start, end in pairwise(ends)]


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _mean(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return round(sum(found) / len(found), _DIGITS) if found else None
