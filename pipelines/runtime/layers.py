"""Low-rank layers: what stands in a base layer's `forward` while adapters are attached.

    y = base(x) + B (g * (A x))        A [R d_in], B^T [R d_out], g [R]: all active adapters stacked along R

The base module itself, its weights and its place in the tree stay as they are. While all samples share the gates, an
update costs two kernels whatever the number of adapters: equal gates are a factor of the second product, others are
folded into the smaller of A and B once per change. Where the adapters together have more numbers than their update,
R (d_in + d_out) > d_in d_out, the update itself is kept and costs one kernel. With gates per pass (`Composite` as one
batch) and under torch.compile the gates are a multiplication of their own. A LayerRule takes the layer over after A x.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_NO_GATE = torch.empty(0)  # until gates are written


@dataclass
class PlacedFactors:
    """The factors of one adapter at one layer, ready to multiply: `down` [r d_in] or [r in kh kw], `up` [r d_out].

    `rank` r, `into` d_in and `out` d_out are plain numbers, as every new set of adapters asks for them at every layer.
    Once the factors were stacked with others they are views of the stack, so that nothing is held twice.
    """

    down: Tensor
    up: Tensor
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

    __slots__ = ("_delta", "_folded", "_stacked", "dense", "gate", "owners", "ranks", "scale", "sources", "stale")

    def __init__(self, sources: Sequence[PlacedFactors], owners: Sequence[int]) -> None:
        self.sources = tuple(sources)
        self.owners = tuple(owners)
        self.ranks = [source.rank for source in self.sources]
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


Ruled = Callable[[Tensor, Tensor, Tensor], Tensor]  # x, base(x), A x -> the layer's output


class LowRankLayer(ABC):
    """A base layer with a slot for an update; `update` is None where no active adapter touches the layer.

    `ruled` is the rule of the run at this layer, None without one.
    """

    kind: ClassVar[Literal["linear", "conv"]]

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.update: Update | None = None
        self.ruled: Ruled | None = None
        self.base: Callable[[Tensor], Tensor] = module.forward
        self._found: Any = None  # a forward of the module's own, such as an offloading hook
        self._entry = self.forward  # one object for good: a compiled graph recognises it when the layer is hooked again

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def project(self, x: Tensor, down: Tensor) -> Tensor:
        """A x: [... R], or [b R h w]."""

    @abstractmethod
    def product(self, h: Tensor, up: Tensor) -> Tensor:
        """B h in the shape of the layer's output, of up [R d_out]."""

    def added(self, y: Tensor, h: Tensor, up: Tensor) -> Tensor:
        """y + B h, leaving both as they are."""
        return y + self.product(h, _as(y, up)).to(y.dtype)

    def hook(self) -> None:
        """Answer in the module's place; whatever forward it has, an offloading hook included, becomes the base."""
        self._found = vars(self.module).get("forward")
        self.base = self.module.forward
        vars(self.module)["forward"] = self._entry

    def unhook(self) -> None:
        """Undo `hook` exactly; a forward that someone else has put there in the meantime is left alone."""
        own: dict[str, Any] = vars(self.module)
        if own.get("forward") is self._entry:
            del own["forward"]
            if self._found is not None:
                own["forward"] = self._found


class LowRankLinear(LowRankLayer):
    """x [... d_in] -> [... d_out]; gates per pass need the passes outermost in the leading dimension of x."""

    kind: ClassVar[Literal["linear", "conv"]] = "linear"

    def project(self, x: Tensor, down: Tensor) -> Tensor:
        return F.linear(x, down)

    def product(self, h: Tensor, up: Tensor) -> Tensor:
        return h @ up

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        update = self.update
        if update is None:
            return y
        if self.ruled is not None:
            return self.ruled(x, y, self.project(x, update.stacked()[0]))
        if _shares_gates(update):
            if update.dense:
                delta = _as(y, update.delta())
                y.view(-1, y.shape[-1]).addmm_(_as(y, x).reshape(-1, x.shape[-1]), delta)
                return y
            down, up, scale = update.weighted()
            h = self.project(x, down)
        else:
            (down, up), scale = update.stacked(), 1.0
            h = _gated(self.project(x, down), update.gate[:, None])
        up = _as(y, up)
        y.view(-1, up.shape[1]).addmm_(h.view(-1, up.shape[0]), up, alpha=scale)  # [(...) d_out] += [(...) R] [R d_out]
        return y


class LowRankConv(LowRankLayer):
    """x [b c h w] through a k x k convolution down to R channels, with the base's stride and padding, then 1 x 1 up."""

    kind: ClassVar[Literal["linear", "conv"]] = "conv"

    def project(self, x: Tensor, down: Tensor) -> Tensor:
        convolve: Any = self.module._conv_forward  # keeps stride, padding, padding mode and dilation of the base
        return convolve(x, down, None)

    def product(self, h: Tensor, up: Tensor) -> Tensor:
        return F.conv2d(h, up.t()[:, :, None, None])

    def forward(self, x: Tensor) -> Tensor:
        y = self.base(x)
        update = self.update
        if update is None:
            return y
        if self.ruled is not None:
            return self.ruled(x, y, self.project(x, update.stacked()[0]))
        if _shares_gates(update):
            down, up, scale = update.weighted()
            h = self.project(x, down)
        else:
            (down, up), scale = update.stacked(), 1.0
            h = _gated(self.project(x, down), update.gate[:, None, :, None, None])
        up = _as(y, up).t().expand(len(y), -1, -1)
        y.view(*y.shape[:2], -1).baddbmm_(
            up, h.view(*h.shape[:2], -1), alpha=scale
        )  # [b d_out (h w)] += [b d_out R] [b R (h w)]
        return y


def _shares_gates(update: Update) -> bool:
    return update.gate.shape[0] == 1 and not torch.compiler.is_compiling()


def _as(y: Tensor, factor: Tensor) -> Tensor:
    """A factor in the dtype of the layer's output, which differs under autocast only."""
    return factor if factor.dtype is y.dtype else factor.to(y.dtype)


def _gated(h: Tensor, gate: Tensor) -> Tensor:
    """h [(n b) ...] times the gates [n 1 ...] of its passes, in place: float32 gates leave a bfloat16 h as it is."""
    passes = gate.shape[0]
    if h.shape[0] % passes:
        raise ValueError(f"a layer met a batch of {h.shape[0]}, which does not divide into {passes} passes")
    if gate.ndim == 3:  # linear: any axes may follow the batch
        h.view(passes, -1, h.shape[-1]).mul_(gate)
    else:
        h.view(passes, -1, *h.shape[1:]).mul_(gate)
    return h
