"""Updates: the factors of a set of adapters at one layer, stacked, folded with their gates, or multiplied out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_NO_GATE = torch.empty(0)  # until gates are written


@dataclass(frozen=True)
class Gain:
    """What a DoRA adds to the base's own weight: W scaled by `values`, c - 1 for each output [d_out] or input [in]."""

    values: Tensor
    of_output: bool


@dataclass
class PlacedFactors:
    """The factors of one adapter at one layer, ready to multiply: `down` [r d_in] or [r in kh kw], `up` [r d_out].

    `rank` r, `into` d_in and `out` d_out are plain numbers, as every new set of adapters asks for them at every layer.
    Once the factors were stacked with others they are views of the stack, so that nothing is held twice. `gain` is the
    rest of a DoRA, whose own scale is inside the factors.
    """

    down: Tensor
    up: Tensor
    gain: Gain | None = None
    rank: int = field(init=False)
    into: int = field(init=False)
    out: int = field(init=False)

    def __post_init__(self) -> None:
        self.rank, self.into, self.out = self.down.shape[0], self.down[0].numel(), self.up.shape[1]

    def leave_stack(self) -> None:
        """Take a copy of one's own where the stack is to be freed."""
        if self.down.untyped_storage().nbytes() > self.down.nbytes:
            self.down, self.up = self.down.clone(), self.up.clone()


class Update:
    """The stacked updates of one set of adapters at one layer, and the gates they are under.

    `owners` says for each of the factors which adapter of the set it belongs to. `gate` [n R] is a view of the one
    tensor that holds the gates of the whole model, n the number of passes in a batch; `scale` is the gate where it is
    one for all. Stacking and folding happen at the first forward that needs them, never when gates are written.
    """

    __slots__ = (
        "_delta",
        "_folded",
        "_stacked",
        "dense",
        "gains",
        "gate",
        "owners",
        "ranks",
        "scale",
        "sources",
        "stale",
    )

    def __init__(self, sources: Sequence[PlacedFactors], owners: Sequence[int]) -> None:
        self.sources = tuple(sources)
        self.owners = tuple(owners)
        self.ranks = [source.rank for source in self.sources]
        self.gains = tuple(index for index, source in enumerate(self.sources) if source.gain is not None)
        self.gate = _NO_GATE
        self.scale: float | None = None
        self.stale = True  # whether the gates changed since they were folded
        into, out = sources[0].into, sources[0].out
        self.dense = sum(self.ranks) * (into + out) > into * out and sources[0].down.ndim == 2
        self._delta: Tensor | None = None
        self._stacked: tuple[Tensor, Tensor] | None = None
        self._folded: tuple[Tensor, Tensor] | None = None

    def stacked(self) -> tuple[Tensor, Tensor]:
        """A [R ...] and B^T [R d_out] of all adapters; one adapter alone is used in place, without a copy."""
        if len(self.sources) == 1:
            return self.sources[0].down, self.sources[0].up
        if self._stacked is None:
            down = torch.cat([source.down for source in self.sources])
            up = torch.cat([source.up for source in self.sources])
            downs, ups = torch.split(down, self.ranks), torch.split(up, self.ranks)
            for source, its_down, its_up in zip(self.sources, downs, ups, strict=True):
                source.down, source.up = its_down, its_up
            self._stacked = down, up
        return self._stacked

    def weighted(self) -> tuple[Tensor, Tensor, float]:
        """A, B^T and a factor such that their product is the update under the gates of the only pass."""
        down, up = self.stacked()
        if self.scale is not None:
            return down, up, self.scale
        if self.stale or self._folded is None:
            if down[0].numel() <= up.shape[1]:
                gate = self.gate.view(-1, *(1,) * (down.ndim - 1))
                self._folded = torch.mul(down, gate, out=torch.empty_like(down)), up
            else:
                self._folded = down, torch.mul(up, self.gate.view(-1, 1), out=torch.empty_like(up))
            self.stale = False
        return *self._folded, 1.0

    def delta(self) -> Tensor:
        """A^T diag(g) B^T [d_in d_out] under the gates of the only pass."""
        if self.stale or self._delta is None:
            down, up = self.stacked()
            self._delta = torch.mul(down, self.gate.view(-1, 1), out=torch.empty_like(down)).t() @ up
            self.stale = False
        return self._delta
