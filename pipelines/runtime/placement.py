"""Placing an adapter's factors beside a base layer: the checks, and the shape, device and dtype they multiply in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipelines.errors import AdapterMatchError
from pipelines.runtime.layers import LowRankConv, LowRankLayer, LowRankLinear, PlacedFactors

if TYPE_CHECKING:
    from pipelines.adapters.factors import LoraFactors

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def layer_for(name: str, path: str, modules: Mapping[str, nn.Module]) -> LowRankLayer:
    """The low-rank layer over the module at `path`. Raises AdapterMatchError when there is none that can carry one."""
    module = modules.get(path)
    if module is not None and carries(module):
        return LowRankConv(module) if isinstance(module, nn.Conv2d) else LowRankLinear(module)
    raise AdapterMatchError(
        f"adapter {name} has factors for {path}, where the base model cannot take them",
        expected="the path of a linear layer or of an ungrouped convolution",
        found="no such module" if module is None else type(module).__name__,
        remedy="Load the adapter with this pipeline as its target.",
    )


def carries(module: nn.Module) -> bool:
    """Whether an adapter can act on the module: a convolution of one group, or a linear layer, quantised or not."""
    return module.groups == 1 if isinstance(module, nn.Conv2d) else hasattr(module, "in_features")


def place(name: str, path: str, factors: LoraFactors, module: nn.Module, device: torch.device) -> PlacedFactors:
    """The factors in the layout of the layers. Raises AdapterMatchError when they do not fit the module."""
    into, out = shape_of(module)
    down = factors.down.reshape(len(factors.down), -1)
    if down.shape[1] != into.numel() or factors.up.numel() != out * len(down):
        raise AdapterMatchError(
            f"adapter {name} does not fit the base model at {path}",
            expected=f"factors [r {into.numel()}] and [{out} r]",
            found=f"{list(factors.down.shape)} and {list(factors.up.shape)}",
            remedy="Load the adapter with this pipeline as its target.",
        )
    up = factors.up.reshape(out, len(down)).t()
    return _beside(module, device, down.view(-1, *into), up)


def replace(placed: PlacedFactors, module: nn.Module, device: torch.device) -> PlacedFactors:
    """Factors that were placed before, where the module runs now."""
    return _beside(module, device, placed.down, placed.up)


def shape_of(module: Any) -> tuple[torch.Size, int]:
    """What one row of A spans, [d_in] or [in kh kw], and d_out."""
    if isinstance(module, nn.Conv2d):
        return torch.Size((module.in_channels, *module.kernel_size)), module.out_channels
    return torch.Size((module.in_features,)), module.out_features


def _beside(module: nn.Module, device: torch.device, down: Tensor, up: Tensor) -> PlacedFactors:
    weight: Any = module.weight
    dtype = weight.dtype if weight.dtype in _DTYPES else torch.bfloat16  # quantised weights are computed in bfloat16
    return PlacedFactors(down.to(device, dtype).contiguous(), up.to(device, dtype).contiguous())
