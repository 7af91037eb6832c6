"""HeatLog: adds up mean gates while a run draws; numbers stay on the device until someone asks for the map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from lora_loom.pipelines.gating.heat_map import HeatMap


class HeatLog:
    """The gates of a run. An adapter counts where it is open: a pass that shuts it says nothing of its gate."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}
        self._progress: dict[int, float] = {}
        self._sums: dict[tuple[str, int, tuple[str, ...]], Tensor] = {}

    def note(
        self,
        path: str,
        place: int,
        names: tuple[str, ...],
        step: int,
        progress: float,
        gates: Tensor,
        strengths: Tensor,
    ) -> None:
        """Gates [b t N] of the adapters `names` at a layer in step `step`, with their strengths [b N]."""
        self._places[path] = place
        self._progress[step] = progress
        open_ = (strengths != 0).float()
        noted = torch.stack(((gates.detach().mean(1) * open_).sum(0), open_.sum(0)))  # [2 N]: sums, counts
        before = self._sums.get((path, step, names))
        self._sums[path, step, names] = noted if before is None else before + noted

    def map(self, gate: str, adapters: Sequence[str], *, trained: bool = True) -> HeatMap:
        """All that was noted, for these adapters."""
        layers = tuple(sorted(self._places, key=self._places.__getitem__))
        steps = sorted(self._progress)
        sums: dict[tuple[str, int, str], tuple[float, float]] = {}
        for (path, step, names), (total, times) in zip(self._sums, self._read(), strict=True):
            for k, name in enumerate(names):
                before = sums.get((path, step, name), (0.0, 0.0))
                sums[path, step, name] = before[0] + total[k], before[1] + times[k]
        means = {key: total / times for key, (total, times) in sums.items() if times}
        values = tuple(
            tuple(tuple(means.get((path, step, name)) for name in adapters) for step in steps) for path in layers
        )
        return HeatMap(
            gate, layers, tuple(self._progress[step] for step in steps), tuple(adapters), values, trained=trained
        )

    def _read(self) -> list[tuple[list[float], list[float]]]:
        """All sums and counts, in one read, as each waits for the device."""
        if not self._sums:
            return []
        flat = cast("list[float]", cast("Any", torch.cat([each.flatten() for each in self._sums.values()])).tolist())
        found: list[tuple[list[float], list[float]]] = []
        start = 0
        for _, _, names in self._sums:
            middle, end = start + len(names), start + 2 * len(names)
            found.append((flat[start:middle], flat[middle:end]))
            start = end
        return found
