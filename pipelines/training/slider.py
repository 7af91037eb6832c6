"""train_slider: teach an adapter's ranks curves that make the denoiser's prediction linear in the slider.

Linear-in-score distillation: for x_t, t and c on the way of real drawings, the teacher is

    e(s) = e_base + s (e_LoRA - e_base)

from frozen networks, and the student the same network under B diag(g(s)) A. No pictures are needed. Only the curves
g learn; they start as g(s) = s, the plain strength, so the student starts as what everybody uses.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.plan import base_plan
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.targets import denoiser_of
from lora_loom.pipelines.weight_space.canonical import balanced, canonical
from lora_loom.pipelines.weight_space.rank_slider import KNOTS, RankSlider

DRAWN_AT = (0.0, 0.5, 1.0)  # strengths of the drawings that give x_t
PROBED_AT = (0.25, 0.5, 0.75, 1.25)
LEAST_EFFECT = 1e-12  # of the prediction's energy


@dataclass(frozen=True)
class TrainedSlider:
    """The adapter in the gauge that the curves belong to, its slider, and the error of both kinds of strength.

    Errors are |student - teacher| / |teacher - base| over settings and drawings that were not trained on: `plain` of
    the strength itself, `error` of the slider.
    """

    adapter: Adapter
    slider: RankSlider
    plain: float
    error: float


@dataclass(frozen=True)
class _Call:
    """One call of the denoiser as it was made, with what base and adapter answered."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    base: Tensor
    full: Tensor


def train_slider(
    pipe: Any,
    adapter: Adapter,
    prompts: Sequence[str],
    *,
    steps: int = 200,
    learning_rate: float = 0.02,
    num_inference_steps: int = 12,
    guidance_scale: float = 3.0,
    batch_size: int = 4,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainedSlider:
    """Train the slider of an adapter on drawings of `prompts`; the pipeline is left as it was.

    `on_step` hears the step and its loss, the squared relative error. Raises TrainingError for an adapter without a
    part on the denoiser or without any effect on these prompts.
    """
    if not adapter.denoiser:
        raise TrainingError(f"{adapter.name} has no part on the denoiser", found="text encoders only")
    adapter = _canonical(adapter)
    model = denoiser_of(pipe).model
    draw = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
    with _frozen(model), _GatedUpdates(model, adapter.denoiser) as updates:
        half = max(len(prompts) // 2, 1)
        calls = _calls(pipe, model, updates, prompts[:half], draw, batch_size, seed)
        unseen = _calls(pipe, model, updates, prompts[half:] or prompts, draw, batch_size, seed + 10_000)
        curves = {path: nn.Parameter(_start(factors.rank)) for path, factors in adapter.denoiser.items()}
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.Adam(curves.values(), lr=learning_rate)
        plain = _error(model, updates, {path: _gates(curve) for path, curve in curves.items()}, unseen)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(steps, 1))
        for step in range(steps):
            call = calls[int(torch.randint(len(calls), (), generator=generator))]
            s = float(torch.rand((), generator=generator)) * (KNOTS[-1] + 0.5) - 0.5
            updates.gates = RankSlider({path: _gates(curve) for path, curve in curves.items()}).at(s)
            loss = _relative(_answer(model, call), call, s)
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            optimizer.step()  # pyright: ignore[reportUnknownMemberType]
            schedule.step()
            if on_step is not None:
                on_step(step + 1, float(loss.detach()))
        slider = RankSlider({path: _gates(curve).detach().cpu() for path, curve in curves.items()})
        error = _error(model, updates, slider.gates, unseen)
    return TrainedSlider(adapter, slider, plain, error)


class _GatedUpdates:
    """The adapter's updates on the model's layers by hooks, under `gates` [r] by path; None is the base."""

    def __init__(self, model: nn.Module, layers: Mapping[str, LoraFactors]) -> None:
        self.gates: Mapping[str, Tensor] | None = None
        self.ranks = {path: factors.rank for path, factors in layers.items()}
        modules = dict(cast("Any", model).named_modules())
        self._hooks = [
            modules[path].register_forward_hook(self._hook(path, factors, modules[path]))
            for path, factors in layers.items()
        ]

    def __enter__(self) -> _GatedUpdates:
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


def _calls(
    pipe: Any,
    model: nn.Module,
    updates: _GatedUpdates,
    prompts: Sequence[str],
    draw: Mapping[str, Any],
    batch_size: int,
    seed: int,
) -> list[_Call]:
    """All calls of the denoiser in drawings of the prompts at a few strengths, with both answers."""
    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    watch = model.register_forward_pre_hook(
        lambda module, args, kwargs: made.append((args, dict(kwargs))), with_kwargs=True
    )
    ones = {path: torch.ones(rank) for path, rank in updates.ranks.items()}
    try:
        with fused(pipe, base_plan(), {}):
            for strength in DRAWN_AT:
                updates.gates = {path: strength * gate for path, gate in ones.items()}
                for start in range(0, len(prompts), batch_size):
                    part = list(prompts[start : start + batch_size])
                    generators = [torch.Generator().manual_seed(seed + start + k) for k in range(len(part))]
                    pipe(prompt=part, generator=generators, output_type="latent", **draw)
    finally:
        watch.remove()
    calls: list[_Call] = []
    with torch.no_grad():
        for args, kwargs in made:
            updates.gates = None
            base = _prediction(model(*args, **kwargs))
            updates.gates = ones
            calls.append(_Call(args, kwargs, base, _prediction(model(*args, **kwargs))))
    whole = sum(float((call.full - call.base).square().sum()) for call in calls)
    if not whole > LEAST_EFFECT * sum(float(call.base.square().sum()) for call in calls):
        raise TrainingError("the LoRA changes nothing on these prompts", remedy="Use prompts that ask for its subject.")
    return calls


def _answer(model: nn.Module, call: _Call) -> Tensor:
    return _prediction(model(*call.args, **call.kwargs))


def _prediction(output: Any) -> Tensor:
    return output[0]


def _relative(found: Tensor, call: _Call, s: float) -> Tensor:
    """|student - teacher|^2 / |e_LoRA - e_base|^2."""
    change = call.full - call.base
    return (found - call.base - s * change).square().sum() / change.square().sum()


@torch.no_grad()
def _error(model: nn.Module, updates: _GatedUpdates, gates: Mapping[str, Tensor], calls: Sequence[_Call]) -> float:
    slider = RankSlider({path: gate.detach() for path, gate in gates.items()})
    lost = whole = 0.0
    for s in PROBED_AT:
        updates.gates = slider.at(s)
        for call in calls:
            change = s * (call.full - call.base)
            lost += float((_answer(model, call) - call.base - change).square().sum())
            whole += float(change.square().sum())
    return math.sqrt(lost / whole)


def _start(rank: int) -> Tensor:
    """The curves g(s) = s before their softplus: [r pieces]."""
    widths = torch.tensor([b - a for a, b in itertools.pairwise(KNOTS)])
    return torch.log(torch.expm1(widths)).expand(rank, -1).clone()


def _gates(curve: Tensor) -> Tensor:
    """g at the knots [r k]: rising by softplus of the curve, 0 at 0 and 1 at 1."""
    risen = F.softplus(curve).cumsum(dim=1)
    risen = torch.cat([torch.zeros_like(risen[:, :1]), risen], dim=1)
    return risen / risen[:, KNOTS.index(1.0), None]


def _canonical(adapter: Adapter) -> Adapter:
    """The adapter by its singular directions, so that a curve belongs to one of them whatever the training did."""
    return replace(adapter, denoiser={path: balanced(canonical(each)) for path, each in adapter.denoiser.items()})


@contextmanager
def _frozen(model: nn.Module) -> Generator[None]:
    learning = [value for value in model.parameters() if value.requires_grad]
    training = model.training
    try:
        model.requires_grad_(False).eval()
        yield
    finally:
        for value in learning:
            value.requires_grad_(True)
        model.train(training)
