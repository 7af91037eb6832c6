"""Switch: one adapter at a time, taking turns every few steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass, StepState

if TYPE_CHECKING:
    from lora_loom.pipelines.request import AdapterChoice


@dataclass(frozen=True)
class Switch(FusionMethod):
    """LoRA Switch (arXiv:2402.16843, section 3.2): at step t = 0, 1, ... adapter floor(t / tau) mod N speaks alone.

    One pass per step. Every adapter has its own encoding of the prompt, made with its text-encoder part only. The paper
    finds tau = 5 best, tau = 1 distorted, and that a character should come first and a style should not.
    """

    name: ClassVar[str] = "switch"
    title: ClassVar[str] = "Switch"
    source: ClassVar[str] = "arXiv:2402.16843"
    when_to_use: ClassVar[str] = (
        "Each LoRA draws for a few steps in turn, as fast as Merge and without their weights mixing. "
        "Good for realistic pictures; put the character first."
    )
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = True

    switch_every: int = field(
        default=5, metadata={"help": "Steps that each LoRA draws before the next one takes over.", "min": 1, "max": 100}
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        turns = tuple((Pass(gates={choice.name: choice.strength}),) for choice in adapters)

        def schedule(state: StepState) -> Sequence[Pass]:
            return turns[state.index // self.switch_every % len(turns)]

        return FusionPlan(
            adapters=tuple(choice.name for choice in adapters),
            schedule=schedule,
            text_passes=tuple(turn.gates for (turn,) in turns),
        )
