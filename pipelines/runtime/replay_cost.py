"""What a replayed pass costs in full ones, counted once for a model and a size without a weight in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lora_loom.pipelines.plan import Replay
from lora_loom.pipelines.runtime.shallow import Features, shallow_of

_Shapes = tuple[tuple[str, Any], ...]


def replay_share(model: Any, replay: Replay, arguments: Mapping[str, Any]) -> float:
    """FLOPs of a replayed forward over those of a full one, with these arguments, the adapters left out.

    Counted on the meta device: two forwards of shapes alone, some seconds for the largest models, once for each size.
    """
    shapes = _described(arguments)
    config = json.dumps(dict(model.config), sort_keys=True, default=str)
    return _counted(cast("Any", type(model)), config, _Model(model.config), replay.branch, shapes)


class _Model:
    """A config that takes no part in telling cached answers apart: its text does."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Model)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=32)
def _counted(kind: Any, config: str, of: _Model, branch: int, shapes: _Shapes) -> float:
    with torch.device("meta"):
        model: nn.Module = kind.from_config(of.config)
    model.eval()
    call = _on_meta(shapes)
    shallow, features = shallow_of(model, branch), cast("Features", {})
    full = _flops(model, call, shallow.recording(features))
    return _flops(model, call, shallow.replaying(features)) / full


def _flops(model: nn.Module, call: dict[str, Any], context: AbstractContextManager[None] = nullcontext()) -> int:
    flops = FlopCounterMode(display=False)
    with torch.no_grad(), context, flops:
        model(**call)
    return flops.get_total_flops()


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
