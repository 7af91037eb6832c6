"""Delta sum: what every adapter adds to the base's prediction, added up without dividing by their number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Predictions
from lora_loom.pipelines.predictions.contributions import (
    conditional_half,
    contribution_plan,
    contributions,
    for_both_halves,
)

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.request import AdapterChoice


@dataclass(frozen=True)
class DeltaSum(FusionMethod):
    """eps = eps_base + sum_i (eps_i - eps_base), eps_i with adapter i alone at its strength: Composite without the 1/N.

    `limit` holds the norm of the sum, per sample, to that many times that of the largest single contribution. With
    `budget` the contributions take turns in being computed anew; in between each keeps its distance to the base.
    """

    name: ClassVar[str] = "delta_sum"
    title: ClassVar[str] = "Delta sum"
    source: ClassVar[str] = "Loom"
    when_to_use: ClassVar[str] = (
        "Each LoRA keeps its full strength beside the others, where Composite softens them; for LoRAs that change "
        "different things. A picture takes N + 1 times as long, less with a budget."
    )
    passes_per_step: ClassVar[str] = "N + 1"
    order_matters: ClassVar[bool] = False

    budget: float = field(
        default=0.0,
        metadata={"help": "At most this many passes per step on average; 0 is no limit.", "min": 0.0, "max": 100.0},
    )
    limit: float = field(
        default=0.0,
        metadata={
            "help": "Hold the sum to this many times the largest single contribution; 0 lets it be.",
            "min": 0.0,
            "max": 100.0,
        },
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        return contribution_plan(adapters, num_inference_steps, self._combine, budget=self.budget)

    def _combine(self, predictions: Predictions) -> Tensor:
        base, deltas = contributions(predictions)
        total = deltas.sum(dim=0, keepdim=True)  # [1 b ...]
        if self.limit:
            each, whole = (_norms(conditional_half(predictions, values)) for values in (deltas, total))
            allowed = self.limit * each.amax(dim=0, keepdim=True) / whole.clamp_min(1e-12)  # [1 b]
            scale = for_both_halves(predictions, allowed.clamp_max(1.0))
            total = total * scale.view(*scale.shape, *(1,) * (total.ndim - 2)).to(total.dtype)
        return base + total[0]


def _norms(values: Tensor) -> Tensor:
    """Euclidean norms of [n b ...] per sample, in float32: [n b]."""
    return values.float().flatten(2).square().sum(dim=2).sqrt()
