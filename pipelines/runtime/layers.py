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
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_loom.pipelines.runtime.dora import regained
from lora_loom.pipelines.runtime.update import PlacedFactors as PlacedFactors
from lora_loom.pipelines.runtime.update import Update as Update

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

    def regained(self, x: Tensor, y: Tensor, update: Update, mask: Tensor | None = None) -> Tensor:
        """y with what the DoRAs of the update add to the base's own weight; `mask` [1 T R] or [1 R h w] is by place."""
        return regained(self.base, cast("Tensor | None", self.module.bias), x, y, update, mask)

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
        if update.gains:
            y = self.regained(x, y, update)
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
        if update.gains:
            y = self.regained(x, y, update)
        if _shares_gates(update):
            down, up, scale = update.weighted()
            h = self.project(x, down)
        else:
            (down, up), scale = update.stacked(), 1.0
            h = _gated(self.project(x, down), update.gate[:, None, :, None, None])
        up = _as(y, up)
        if _channels_last(y):
            pixels = y.permute(0, 2, 3, 1).view(-1, up.shape[1])
            pixels.addmm_(h.permute(0, 2, 3, 1).reshape(-1, up.shape[0]), up, alpha=scale)  # [(b h w) d_out]
            return y
        up = up.t().expand(len(y), -1, -1)
        y.view(*y.shape[:2], -1).baddbmm_(
            up, h.view(*h.shape[:2], -1), alpha=scale
        )  # [b d_out (h w)] += [b d_out R] [b R (h w)]
        return y


def _shares_gates(update: Update) -> bool:
    return update.gate.shape[0] == 1 and not torch.compiler.is_compiling()


def _channels_last(y: Tensor) -> bool:
    """Whether the channels of a pixel lie together: a CPU has no quick way to add a batched product to such memory."""
    return y.stride(1) == 1 and y.is_contiguous(memory_format=torch.channels_last)


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
