"""Gates as data: one tensor holds the gates of all active adapters at all layers, and the layers look into it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from lora_loom.pipelines.plan import Gates
from lora_loom.pipelines.runtime.layers import LowRankLayer
from lora_loom.pipelines.runtime.update import Update


class Stack:
    """The updates of one set of adapters over all the layers they touch, with their gates.

    Writing gates is one gather into one float32 tensor [n (R_1 + R_2 + ...)] whatever the number of layers; each
    layer's [n R_l] is a view of it. Making a stack copies no factors.
    """

    def __init__(self, names: tuple[str, ...], updates: Mapping[LowRankLayer, Update], device: torch.device) -> None:
        self.names = names
        self.updates = updates
        self._device = device
        owners = [owner for update in updates.values() for owner in update.owners]
        ranks = [rank for update in updates.values() for rank in update.ranks]
        self._owner = torch.repeat_interleave(torch.tensor(owners, dtype=torch.long), torch.tensor(ranks)).to(device)
        self._widths = [sum(update.ranks) for update in updates.values()]
        self._buffers: dict[int, tuple[Tensor, tuple[Tensor, ...]]] = {}  # by number of passes
        self._written: tuple[tuple[float, ...], ...] = ()
        self._factors: Tensor | None = None

    def write(self, gates: Sequence[Gates], factors: Tensor | None = None) -> None:
        """Set the gates of each pass of the next batch; writing what already stands costs nothing.

        `factors` [(R_1 + R_2 + ...)] multiply them, one for each layer and rank.
        """
        values = tuple(tuple(each.get(name, 0.0) for name in self.names) for each in gates)
        if values == self._written and factors is self._factors:
            return
        passes = len(values)
        if passes not in self._buffers:
            buffer = torch.empty(passes, len(self._owner), device=self._device)
            self._buffers[passes] = buffer, torch.split(buffer, self._widths, dim=1)
        buffer, views = self._buffers[passes]
        torch.index_select(torch.tensor(values, device=self._device), 1, self._owner, out=buffer)
        if factors is not None:
            buffer.mul_(factors)
        if passes != len(self._written):
            for update, view in zip(self.updates.values(), views, strict=True):
                update.gate = view
        scale = values[0][0] if len(set(values[0])) == passes == 1 and factors is None else None
        for update in self.updates.values():
            update.stale = True
            update.scale = scale
        self._written, self._factors = values, factors

    def factors(self, of: Callable[[str, LowRankLayer], float]) -> Tensor:
        """A factor for each adapter and layer as `write` takes them."""
        values = [of(self.names[owner], layer) for layer, update in self.updates.items() for owner in update.owners]
        ranks = [rank for update in self.updates.values() for rank in update.ranks]
        return torch.repeat_interleave(torch.tensor(values), torch.tensor(ranks)).to(self._device)

    def stack_now(self) -> None:
        """Copy the factors together for all layers, as a compiled graph needs them before its first forward."""
        for update in self.updates.values():
            update.stacked()
