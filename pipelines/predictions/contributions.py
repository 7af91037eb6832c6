"""Contributions: what every adapter adds to the base's prediction, Delta_i = eps_i - eps_base, and where.

For plans whose first pass is the base and whose other passes are one adapter each. What is decided is decided on the
conditional half of guidance, per sample, and applied to both halves alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lora_loom.pipelines.plan import Combine, FusionPlan, Pass, Predictions, StepState, weighted_mean
from lora_loom.pipelines.predictions.refresh import affordable, evenly, rotation

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.request import AdapterChoice

_DECIDED = "decided"  # key of a step's decision in the memory of a run


def contribution_plan(
    adapters: Sequence[AdapterChoice], num_inference_steps: int, combine: Combine, *, budget: float = 0.0
) -> FusionPlan:
    """The base and then each adapter alone at every step, for `combine`; one adapter alone is its own plain pass.

    Every adapter has its own encoding of the prompt, the base a plain one. With a `budget` (passes per step on average)
    adapters take turns in running, and the others keep their distance to the base; SettingError if it cannot be met.
    """
    return _beside(Pass({}), adapters, num_inference_steps, combine, budget)


def mean_plan(adapters: Sequence[AdapterChoice], num_inference_steps: int, budget: float) -> FusionPlan:
    """Each adapter alone, for their mean, by turns within a `budget`.

    In between each keeps its distance to one pass with all adapters, which runs at every step and is not in the mean.
    """
    together = Pass({choice.name: choice.strength for choice in adapters}, weight=0.0)
    return _beside(together, adapters, num_inference_steps, weighted_mean, budget)


def _beside(
    reference: Pass, adapters: Sequence[AdapterChoice], num_inference_steps: int, combine: Combine, budget: float
) -> FusionPlan:
    gates = [{choice.name: choice.strength} for choice in adapters]
    names, n = tuple(choice.name for choice in adapters), len(adapters)
    if n == 1:
        alone = (Pass(gates[0]),)
        return FusionPlan(names, lambda state: alone, (gates[0],))
    turns = (n,) * num_inference_steps
    if budget:
        full = affordable(n, num_inference_steps, budget, share=0.0, reference=1.0)
        turns = evenly(n, num_inference_steps, full)
    last = rotation(turns, n)

    def schedule(state: StepState) -> Sequence[Pass]:
        step = min(state.index, num_inference_steps - 1)
        running = {(last[step] - k) % n for k in range(turns[step])}
        own = [Pass(each, reuse="full" if index in running else "delta") for index, each in enumerate(gates)]
        return reference, *own

    cost = 1 + sum(turns) / num_inference_steps
    return FusionPlan(names, schedule, (reference.gates, *gates), combine, predicted_cost=cost)


def contributions(predictions: Predictions) -> tuple[Tensor, Tensor]:
    """eps_base [b ...] and Delta [n b ...] of the n passes that follow it."""
    base = predictions.noise_preds[0]
    return base, predictions.noise_preds[1:] - base


def conditional_half(predictions: Predictions, values: Tensor) -> Tensor:
    """The rows [n b' ...] of values [n b ...] that decide: the second half where the batch holds both."""
    return values[:, predictions.deciding]


def for_both_halves(predictions: Predictions, decided: Tensor) -> Tensor:
    """A decision [n b' ...] for all rows of the batch, [n b ...].

    In a call for the negative prompt alone it is the decision of the conditional call of the same step.
    """
    import torch

    if predictions.conditional:
        predictions.memory[_DECIDED] = decided
    kept: Tensor = predictions.memory[_DECIDED]
    return torch.cat([kept] * predictions.halves, dim=1)


def energy(predictions: Predictions, deltas: Tensor) -> Tensor:
    """Mean over channels of |Delta|^2 at each place, float32 [n b h w], from [n b c h w] or tokens [n b (h w) c]."""
    if predictions.grid is None:
        return deltas.float().square().mean(dim=2)
    return deltas.float().square().mean(dim=-1).view(*deltas.shape[:2], *predictions.grid)


def at_places(predictions: Predictions, weights: Tensor) -> Tensor:
    """Weights [n b h w] in a form that multiplies predictions: [n b 1 h w] or [n b (h w) 1]."""
    return weights.unsqueeze(2) if predictions.grid is None else weights.flatten(-2).unsqueeze(-1)


def smoothed(maps: Tensor, size: int) -> Tensor:
    """The mean of [n b h w] over size x size places around each, over those inside the picture; size is odd."""
    from torch.nn.functional import avg_pool2d

    if size == 1:
        return maps
    n, b, h, w = maps.shape
    height, width = min(size, h - (h + 1) % 2), min(size, w - (w + 1) % 2)  # no wider than the picture, and odd
    pooled = avg_pool2d(
        maps.reshape(n * b, 1, h, w),
        (height, width),
        stride=1,
        padding=(height // 2, width // 2),
        count_include_pad=False,
    )
    return pooled.view(n, b, h, w)
