"""FusionPlan: what a fusion method asks of the denoiser, as plain data that the runtime executes.

A method never touches a model. At every step its schedule names the passes to run, each pass says how strongly every
adapter speaks (its gates), and `combine` turns the predictions of the passes into the one that guidance and the
scheduler see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from lora_loom.pipelines.step_state import StepState as StepState

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.request import AdapterChoice
    from lora_loom.pipelines.runtime.rules import LayerRule

Gates: TypeAlias = Mapping[str, float]  # adapter name -> strength x the method's own gate; an absent name is 0
Reuse: TypeAlias = Literal["full", "replay", "delta"]


@dataclass(frozen=True)
class Pass:
    """One prediction of the denoiser with these gates; its prompt is encoded with `text_gates` (None: the same).

    `reuse` says how much of it is computed anew. `full`: all. `replay`: the shallow layers, around the deep features of
    the last step it ran in full (the plan says how, with `replay`). `delta`: nothing; it is the prediction of the
    step's first pass of the same region plus the difference that this pass had to it when it last ran. What has
    nothing to reuse runs in full. `region` 0 is drawn to the run's own prompt, region k to that of the plan's
    `regions[k - 1]`.
    """

    gates: Gates
    weight: float = 1.0
    text_gates: Gates | None = None
    reuse: Reuse = "full"
    region: int = 0

    @property
    def encoded_with(self) -> Gates:
        return self.gates if self.text_gates is None else self.text_gates


@dataclass(frozen=True)
class Predictions:
    """What the passes of one call of the denoiser predicted, and where and for whom.

    `noise_preds` [n b ...] belong to `passes`, `weights` [n] are theirs. With `halves` 2 the batch holds the
    unconditional half of guidance and then the conditional one, or with `conditional_first` the other way round;
    `conditional` is False in a further call of the same step, as some pipelines make for a negative prompt. `grid`
    (rows, columns) is the layout of predictions that come as tokens [n b (h w) c], None for [n b c h w]. `memory` is
    kept from call to call and empty when a run begins.
    """

    noise_preds: Tensor
    weights: Tensor
    passes: Sequence[Pass]
    state: StepState
    halves: int = 1
    conditional_first: bool = False
    conditional: bool = True
    grid: tuple[int, int] | None = None
    memory: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def deciding(self) -> slice:
        """The rows of the batch that decide: the conditional half where it holds both."""
        half = self.noise_preds.shape[1] // 2
        if self.halves != 2:
            return slice(None)
        return slice(None, half) if self.conditional_first else slice(half, None)


@dataclass(frozen=True)
class Replay:
    """How passes are replayed: `branch` + 1 shallow blocks anew, around features at most `max_age` steps old."""

    branch: int
    max_age: int


@dataclass(frozen=True)
class PassCosts:
    """FLOPs of a pass in full, and of a replayed one, over those of a forward of the base without adapters."""

    full: float = 1.0
    replayed: float = 0.0


Schedule: TypeAlias = "Callable[[StepState], Sequence[Pass]]"
Combine: TypeAlias = "Callable[[Predictions], Tensor]"  # -> prediction [b ...]
Settle: TypeAlias = "Callable[[Any, Mapping[str, Adapter]], FusionPlan]"  # pipeline, adapters ->
AtCost: TypeAlias = "Callable[[PassCosts], FusionPlan]"
Derive: TypeAlias = "Callable[[Mapping[str, Adapter]], Mapping[str, Adapter]]"


def weighted_mean(predictions: Predictions) -> Tensor:
    """sum_i w_i eps_i / sum_i w_i over the passes: [b ...]. One pass alone comes back untouched."""
    noise_preds, weights = predictions.noise_preds, predictions.weights
    if noise_preds.shape[0] == 1:
        return noise_preds[0]
    shares = (weights / weights.sum()).to(noise_preds.dtype)
    return (noise_preds * shares.view(-1, *(1,) * (noise_preds.ndim - 1))).sum(dim=0)


@dataclass(frozen=True)
class RegionPrompt:
    """The prompt of a part of the picture, and all the sets of text-encoder gates that its passes may ask for."""

    prompt: str
    text_passes: tuple[Gates, ...]


@dataclass(frozen=True)
class FusionPlan:
    """All that `lora_loom.pipelines.runtime.fused` needs to know of a method's decision for one run.

    `adapters` are the names the schedule may open. `text_passes` are all the sets of text-encoder gates that it may ask
    for: the prompt is encoded once for each of them, before the first step. `layer_rule` acts inside the layers.
    `derive` makes of the chosen adapters those that are attached in their place; the gates then name these. The blocks
    and regions of `controls` act inside the layers, too. `regions` are the parts of the picture with their own prompts.
    A plan with `replay` keeps the features of its full passes. What a method can only decide with the pipeline and the
    adapters at hand, `settle` decides before the run, and what depends on the cost of a pass, `at_cost` at its first
    call: each gives the plan to go on with. `predicted_cost` is in forwards of the base per step, None if nobody asked.
    """

    adapters: tuple[str, ...]
    schedule: Schedule
    text_passes: tuple[Gates, ...]
    combine: Combine = weighted_mean
    layer_rule: LayerRule | None = None
    derive: Derive | None = None
    controls: tuple[AdapterChoice, ...] = ()
    regions: tuple[RegionPrompt, ...] = ()
    replay: Replay | None = None
    settle: Settle | None = None
    at_cost: AtCost | None = None
    predicted_cost: float | None = None


def base_plan() -> FusionPlan:
    """The base model alone: one pass without any adapter."""
    alone = (Pass(gates={}),)
    return FusionPlan(adapters=(), schedule=lambda state: alone, text_passes=({},))
