"""Placing an adapter's factors beside a base layer: the checks, and the shape, device and dtype they multiply in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.runtime.dora import column_scale
from lora_loom.pipelines.runtime.layers import LowRankConv, LowRankLayer, LowRankLinear
from lora_loom.pipelines.runtime.update import Gain, PlacedFactors

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import LoraFactors

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
    if factors.magnitude is None:
        return _beside(module, device, down.view(-1, *into), up)
    return _place_dora(name, path, factors, module, device)


def replace(placed: PlacedFactors, module: nn.Module, device: torch.device) -> PlacedFactors:
    """Factors that were placed before, where the module runs now."""
    return _beside(module, device, placed.down, placed.up, placed.gain)


def shape_of(module: Any) -> tuple[torch.Size, int]:
    """What one row of A spans, [d_in] or [in kh kw], and d_out."""
    if isinstance(module, nn.Conv2d):
        return torch.Size((module.in_channels, *module.kernel_size)), module.out_channels
    return torch.Size((module.in_features,)), module.out_features


def _place_dora(name: str, path: str, factors: LoraFactors, module: nn.Module, device: torch.device) -> PlacedFactors:
    """A DoRA in its two parts. Raises AdapterMatchError where the base's own weight cannot be read or does not fit."""
    weight, magnitude = cast("Tensor", module.weight), factors.magnitude
    into, out = shape_of(module)
    sides = {"output": out, "input": into[0]}
    if weight.is_meta or weight.dtype not in _DTYPES or weight.shape != (out, *into):
        raise AdapterMatchError(
            f"adapter {name} is a DoRA, which needs the base's own weight at {path}",
            expected=f"plain numbers of shape {[out, *into]}",
            found="one that is offloaded" if weight.is_meta else f"{list(weight.shape)} of {weight.dtype}",
            remedy="Load the base without quantisation and without sequential offloading, or take a plain LoRA.",
        )
    assert magnitude is not None
    if len(magnitude.values) != sides[magnitude.of]:
        raise AdapterMatchError(
            f"adapter {name} does not fit the base model at {path}",
            expected=f"{sides[magnitude.of]} magnitudes",
            found=str(len(magnitude.values)),
            remedy="Load the adapter with this pipeline as its target.",
        )
    scale = column_scale(factors, weight.detach())
    down, up = factors.down.to(scale.device).view(-1, *into), factors.up.to(scale.device).view(out, -1).t()
    if magnitude.of == "output":
        up = up * scale
    else:
        down = down * scale.view(-1, *(1,) * (len(into) - 1))
    return _beside(module, device, down, up, Gain(scale - 1.0, magnitude.of == "output"))


def _beside(
    module: nn.Module, device: torch.device, down: Tensor, up: Tensor, gain: Gain | None = None
) -> PlacedFactors:
    weight: Any = module.weight
    dtype = weight.dtype if weight.dtype in _DTYPES else torch.bfloat16  # quantised weights are computed in bfloat16
    if gain is not None:
        gain = Gain(gain.values.to(device), gain.of_output)  # in float32, as it is the small difference of two norms
    return PlacedFactors(down.to(device, dtype).contiguous(), up.to(device, dtype).contiguous(), gain)
