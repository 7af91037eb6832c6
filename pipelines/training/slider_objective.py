"""SliderObjective: curves of an adapter's ranks learn to make the denoiser's prediction linear in the slider.

Linear-in-score distillation: for x_t, t and c on the way of real drawings, the teacher is

    e(s) = e_base + s (e_LoRA - e_base)

from frozen networks, and the student the same network under B diag(g(s)) A. No pictures are needed. Only the curves
g learn; they start as g(s) = s, the plain strength, so the student starts as what everybody uses.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.write import save_adapter
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached
from lora_loom.pipelines.weight_space.rank_slider import HEADER_KEY, KNOTS, RankSlider


@dataclass(frozen=True)
class Call:
    """One call of the denoiser as it was made, with what base and adapter answered."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    base: Tensor
    full: Tensor


class SliderObjective(Objective[tuple[Call, float]]):
    """The curves of `adapter`, whose `updates` are on the model; `calls` are what it learns from.

    `passes` is how many forward passes the whole training makes: their calls and settings are drawn in one row.
    """

    def __init__(
        self,
        model: nn.Module,
        updates: GatedUpdates,
        adapter: Adapter,
        calls: Sequence[Call],
        *,
        learning_rate: float,
        seed: int,
        passes: int,
    ) -> None:
        self.fingerprint = _fingerprint(adapter)
        self._model = model
        self._updates = updates
        self._adapter = adapter
        self._calls = calls
        self._learning_rate = learning_rate
        self._curves = {path: nn.Parameter(_start(factors.rank)) for path, factors in adapter.denoiser.items()}
        generator = torch.Generator().manual_seed(seed)
        self._drawn = [
            (int(torch.randint(len(calls), (), generator=generator)), float(torch.rand((), generator=generator)))
            for _ in range(passes)
        ]

    @property
    def slider(self) -> RankSlider:
        """The slider as it stands, not to be learned through any more."""
        return RankSlider({path: gates_of(curve).detach().cpu() for path, curve in self._curves.items()})

    def groups(self) -> Sequence[ParameterGroup]:
        return [ParameterGroup(self._curves, self._learning_rate)]

    def batches(self, passes: Passes) -> Iterator[tuple[Call, float]]:
        """A call, and a setting of the slider from -0.5 to its last knot."""
        for number in passes.numbered:
            index, u = self._drawn[number]
            yield self._calls[index], u * (KNOTS[-1] + 0.5) - 0.5

    def loss(self, batch: tuple[Call, float]) -> Tensor:
        """|student - teacher|^2 / |e_LoRA - e_base|^2."""
        call, s = batch
        self._updates.gates = RankSlider({path: gates_of(curve) for path, curve in self._curves.items()}).at(s)
        change = call.full - call.base
        return (answer(self._model, call) - call.base - s * change).square().sum() / change.square().sum()

    def export(self, path: Path, at: Reached) -> None:
        save_with_slider(self._adapter, self.slider, path)


class GatedUpdates:
    """The adapter's updates on the model's layers by hooks, under `gates` [r] by path; None is the base."""

    def __init__(self, model: nn.Module, layers: Mapping[str, LoraFactors]) -> None:
        self.gates: Mapping[str, Tensor] | None = None
        self.ranks = {path: factors.rank for path, factors in layers.items()}
        modules = dict(cast("Any", model).named_modules())
        self._hooks = [
            modules[path].register_forward_hook(self._hook(path, factors, modules[path]))
            for path, factors in layers.items()
        ]

    def __enter__(self) -> GatedUpdates:
        return self

    def __exit__(self, *error: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _hook(self, path: str, factors: LoraFactors, module: Any) -> Callable[..., Tensor | None]:
        down, up = factors.down.to(module.weight), factors.up.to(module.weight)

        def add(module: Any, args: tuple[Tensor, ...], y: Tensor) -> Tensor | None:
            if self.gates is None:
                return None
            gate = self.gates[path].to(y)
            if down.ndim == 2:
                return y + F.linear(F.linear(args[0], down) * gate, up)
            h = module._conv_forward(args[0], down, None) * gate[:, None, None]
            return y + F.conv2d(h, up[:, :, None, None])

        return add


def answer(model: nn.Module, call: Call) -> Tensor:
    """The prediction for a call under the gates in force."""
    return model(*call.args, **call.kwargs)[0]


def gates_of(curve: Tensor) -> Tensor:
    """g at the knots [r k]: rising by softplus of the curve, 0 at 0 and 1 at 1."""
    risen = F.softplus(curve).cumsum(dim=1)
    risen = torch.cat([torch.zeros_like(risen[:, :1]), risen], dim=1)
    return risen / risen[:, KNOTS.index(1.0), None]


def save_with_slider(adapter: Adapter, slider: RankSlider, path: Path) -> None:
    """The adapter as a file that any tool reads as a plain LoRA, with its slider in the header."""
    save_adapter(adapter, path, metadata={**kept_metadata(adapter), HEADER_KEY: slider.to_header()})


def kept_metadata(adapter: Adapter) -> dict[str, str]:
    """What the header of the adapter says that a slider does not change."""
    return {key: value for key, value in adapter.metadata.items() if key.startswith("modelspec.") and "hash" not in key}


def _start(rank: int) -> Tensor:
    """The curves g(s) = s before their softplus: [r pieces]."""
    widths = torch.tensor([b - a for a, b in itertools.pairwise(KNOTS)])
    return torch.log(torch.expm1(widths)).expand(rank, -1).clone()


def _fingerprint(adapter: Adapter) -> str:
    digest = hashlib.sha256()
    for path, factors in sorted(adapter.denoiser.items()):
        digest.update(path.encode())
        for matrix in (factors.down, factors.up):
            digest.update(matrix.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
