"""FusionPlan: what a fusion method asks of the denoiser, as plain data that the runtime executes.

A method never touches a model. At every step its schedule names the passes to run, each pass says how strongly every
adapter speaks (its gates), and `combine` turns the predictions of the passes into the one that guidance and the
scheduler see.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pipelines.step_state import StepState as StepState

if TYPE_CHECKING:
    from torch import Tensor

    from pipelines.runtime.rules import LayerRule

Gates: TypeAlias = Mapping[str, float]  # adapter name -> strength x the method's own gate; an absent name is 0


@dataclass(frozen=True)
class Pass:
    """One prediction of the denoiser with these gates; its prompt is encoded with `text_gates` (None: the same)."""

    gates: Gates
    weight: float = 1.0
    text_gates: Gates | None = None

    @property
    def encoded_with(self) -> Gates:
        return self.gates if self.text_gates is None else self.text_gates


Schedule: TypeAlias = "Callable[[StepState], Sequence[Pass]]"
Combine: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"  # predictions [n b ...], weights [n] -> prediction [b ...]


def weighted_mean(noise_preds: Tensor, weights: Tensor) -> Tensor:
    """sum_i w_i eps_i / sum_i w_i over the passes: [n b ...], [n] -> [b ...]. One pass alone comes back untouched."""
    if noise_preds.shape[0] == 1:
        return noise_preds[0]
    shares = (weights / weights.sum()).to(noise_preds.dtype)
    return (noise_preds * shares.view(-1, *(1,) * (noise_preds.ndim - 1))).sum(dim=0)


@dataclass(frozen=True)
class FusionPlan:
    """All that `pipelines.runtime.fused` needs to know of a method's decision for one run.

    `adapters` are the names the schedule may open. `text_passes` are all the sets of text-encoder gates that it may ask
    for: the prompt is encoded once for each of them, before the first step. `layer_rule` acts inside the layers.
    """

    adapters: tuple[str, ...]
    schedule: Schedule
    text_passes: tuple[Gates, ...]
    combine: Combine = weighted_mean
    layer_rule: LayerRule | None = None


def base_plan() -> FusionPlan:
    """The base model alone: one pass without any adapter."""
    alone = (Pass(gates={}),)
    return FusionPlan(adapters=(), schedule=lambda state: alone, text_passes=({},))
