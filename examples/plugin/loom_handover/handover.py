"""Handover: the first adapter lays out the picture, the others finish it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass, StepState
from lora_loom.pipelines.request import AdapterChoice


@dataclass(frozen=True)
class Handover(FusionMethod):
    """The first adapter draws until `at`, the others finish the picture."""

    name: ClassVar[str] = "handover"
    title: ClassVar[str] = "Handover"
    source: ClassVar[str] = "README"
    when_to_use: ClassVar[str] = "The first LoRA lays out the picture, the others give it its looks."
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = True

    at: float = field(default=0.4, metadata={"help": "Share of the run for the first LoRA.", "min": 0.0, "max": 1.0})

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        first = {adapters[0].name: adapters[0].strength}
        rest = {choice.name: choice.strength for choice in adapters[1:]} or first

        def schedule(state: StepState) -> Sequence[Pass]:
            return (Pass(gates=first if state.progress < self.at else rest),)

        return FusionPlan(tuple({**first, **rest}), schedule, text_passes=(first, rest))
