"""Exact counts of what a call does: kernels, floating-point operations, bytes at the peak.

They need no clock and no data: on the meta device SDXL is counted in two seconds without a weight in memory.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

_aten = torch.ops.aten
_NO_KERNEL = {
    _aten._unsafe_view,
    _aten.alias,
    _aten.detach,
    _aten.empty,
    _aten.empty_like,
    _aten.empty_strided,
    _aten.lift_fresh,
    _aten.new_empty,
}


def _product(into: Sequence[int], a: Sequence[int], b: Sequence[int], **_: Any) -> int:
    """FLOPs of [... m k] times [... k n]."""
    return 2 * math.prod(a) * b[-1]


_IN_PLACE = {_aten.addmm_: _product, _aten.baddbmm_: _product}


@dataclass(frozen=True)
class Work:
    """What a call does: `kernels` that compute or copy, and floating-point operations, a multiply-add as two."""

    kernels: int
    flops: int


def count(call: Callable[[], object]) -> Work:
    """Count the operations dispatched: each is one kernel on a GPU, views and allocations are none.

    Attention is counted as the steps of torch's plain path, which the meta device takes, on both sides of a ratio.
    """
    kernels = _Kernels()
    flops = FlopCounterMode(display=False, custom_mapping=_IN_PLACE)  # products into place are not in torch's table
    with torch.no_grad(), flops, kernels:  # kernels first: the other takes some operations apart
        call()
    return Work(kernels.count, flops.get_total_flops())


def peak_bytes(call: Callable[[], object], device: str = "meta") -> int:
    """The most bytes that tensors made during the call held at once on that device, each storage once."""
    tracker = _Storages(device)
    with torch.no_grad(), tracker:
        call()
    return tracker.peak


class _Kernels(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not (func.is_view or func.overloadpacket in _NO_KERNEL)
        return func(*args, **(kwargs or {}))


class _Storages(TorchDispatchMode):
    """Follows every storage from the operation that makes it to its end."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.peak = 0
        self._device = device
        self._held: dict[int, tuple[Any, int]] = {}
        self._bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_storage(leaf)._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.device.type == self._device and _storage(leaf)._cdata not in given:
                self._follow(_storage(leaf))
        return result

    def _follow(self, storage: Any) -> None:
        key: int = storage._cdata
        if key in self._held:
            return
        size: int = storage.nbytes()
        self._held[key] = weakref.ref(storage, lambda _: self._forget(key)), size
        self._bytes += size
        self.peak = max(self.peak, self._bytes)

    def _forget(self, key: int) -> None:
        _, size = self._held.pop(key)
        self._bytes -= size


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()
