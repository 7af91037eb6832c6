"""What full and replayed passes cost, counted once for a model and a size without a weight in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lora_loom.pipelines.plan import PassCosts, Replay
from lora_loom.pipelines.runtime.shallow import Features, shallow_of

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter

_Shapes = tuple[tuple[str, Any], ...]


def pass_costs(model: Any, replay: Replay, arguments: Mapping[str, Any], adapters: Iterable[Adapter] = ()) -> PassCosts:
    """FLOPs of a full and of a replayed pass over those of a forward of the bare model, with these arguments.

    The passes of a step are one batch in which all `adapters` lie side by side, so that each pays for all. Counted on
    the meta device: two forwards of shapes alone, some seconds for the largest models, once for each size.
    """
    shapes = _described(arguments)
    config = json.dumps(dict(model.config), sort_keys=True, default=str)
    full, replayed = _counted(cast("Any", type(model)), config, _Model(model.config), replay.branch, shapes)
    chosen = list(adapters)
    costs = (each.flops + sum(_updates(adapter, each.positions) for adapter in chosen) for each in (full, replayed))
    return PassCosts(*(flops / full.flops for flops in costs))


def _updates(adapter: Adapter, positions: Mapping[str, int]) -> int:
    """FLOPs of the two products of an adapter's factors at every layer that runs."""
    sizes = ((path, of.down.numel() + of.up.numel()) for path, of in adapter.denoiser.items())
    return sum(2 * positions.get(path, 0) * size for path, size in sizes)


@dataclass(frozen=True)
class _Forward:
    """What a forward of the bare model costs, and at how many places (tokens, pixels) of the batch each layer runs."""

    flops: int
    positions: Mapping[str, int]


class _Model:
    """A config that takes no part in telling cached answers apart: its text does."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Model)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=32)
def _counted(kind: Any, config: str, of: _Model, branch: int, shapes: _Shapes) -> tuple[_Forward, _Forward]:
    with torch.device("meta"):
        model: nn.Module = kind.from_config(of.config)
    model.eval()
    call = _on_meta(shapes)
    shallow, features = shallow_of(model, branch), cast("Features", {})
    full = _forward(model, call, shallow.recording(features))
    return full, _forward(model, call, shallow.replaying(features))


def _forward(model: nn.Module, call: dict[str, Any], context: AbstractContextManager[None]) -> _Forward:
    flops, positions = FlopCounterMode(display=False), dict[str, int]()

    def watch(path: str, channels: int) -> Callable[[nn.Module, object, Tensor], None]:
        def told(module: nn.Module, inputs: object, output: Tensor) -> None:
            positions[path] = positions.get(path, 0) + output.numel() // output.shape[channels]

        return told

    with ExitStack() as stack:
        modules: dict[str, nn.Module] = dict(cast("Any", model).named_modules())
        for path, module in modules.items():
            if isinstance(module, nn.Linear | nn.Conv2d):
                channels = 1 if isinstance(module, nn.Conv2d) else -1
                stack.callback(module.register_forward_hook(watch(path, channels)).remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(context)
        stack.enter_context(flops)
        model(**call)
    return _Forward(flops.get_total_flops(), positions)


def _described(arguments: Mapping[str, Any]) -> _Shapes:
    """The arguments with a shape and a dtype in place of every tensor, hashable."""

    def described(value: Any) -> Any:
        if isinstance(value, Tensor):
            return "tensor", tuple(value.shape), value.dtype
        if isinstance(value, Mapping):
            return "mapping", _described(cast("Mapping[str, Any]", value))
        if isinstance(value, list | tuple):
            return "list", tuple(described(each) for each in cast("list[Any]", value))
        return "plain", value

    return tuple((name, described(value)) for name, value in arguments.items())


def _on_meta(shapes: _Shapes) -> dict[str, Any]:
    def made(description: Any) -> Any:
        kind, value, *dtype = description
        if kind == "tensor":
            return torch.empty(
                value, dtype=dtype[0] if not dtype[0].is_floating_point else torch.float32, device="meta"
            )
        if kind == "mapping":
            return _on_meta(value)
        return [made(each) for each in value] if kind == "list" else value

    return {name: made(description) for name, description in shapes}
