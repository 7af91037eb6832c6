"""Composite: every adapter predicts alone, and the step follows the mean of the predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass
from lora_loom.pipelines.predictions.contributions import mean_plan

if TYPE_CHECKING:
    from lora_loom.pipelines.request import AdapterChoice


@dataclass(frozen=True)
class Composite(FusionMethod):
    """LoRA Composite (arXiv:2402.16843, section 3.3): eps = (1/N) sum_i eps_i, N denoiser passes per step.

    The mean is taken before guidance, for each half of it, which equals the paper's mean of guided predictions. Every
    adapter has its own encoding of the prompt, made with its text-encoder part only. With a `budget` the predictions
    take turns in being computed; in between each keeps its distance to one with all adapters.
    """

    name: ClassVar[str] = "composite"
    title: ClassVar[str] = "Composite"
    source: ClassVar[str] = "arXiv:2402.16843"
    when_to_use: ClassVar[str] = (
        "All LoRAs guide every step without their weights mixing; balanced, but each acts more softly and a picture "
        "takes N times as long. Higher strengths do not make up for it; where LoRAs hardly show, take Arbiter."
    )
    passes_per_step: ClassVar[str] = "N"
    order_matters: ClassVar[bool] = False

    budget: float = field(
        default=0.0,
        metadata={"help": "At most this many passes per step on average; 0 is no limit.", "min": 0.0, "max": 100.0},
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        if 0 < self.budget < len(adapters):
            return mean_plan(adapters, num_inference_steps, self.budget)
        passes = tuple(Pass(gates={choice.name: choice.strength}) for choice in adapters)
        return FusionPlan(
            adapters=tuple(choice.name for choice in adapters),
            schedule=lambda state: passes,
            text_passes=tuple(each.gates for each in passes),
        )
