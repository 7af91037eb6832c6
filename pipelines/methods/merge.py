"""Merge: all adapters at once, their updates summed live at every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass

if TYPE_CHECKING:
    from lora_loom.pipelines.request import AdapterChoice


@dataclass(frozen=True)
class Merge(FusionMethod):
    """y = W x + sum_i s_i B_i A_i x (LoRA, arXiv:2106.09685, eq. 3, for several updates); exact, one pass per step.

    The prompt is encoded once, with the text-encoder parts of all adapters.
    """

    name: ClassVar[str] = "merge"
    title: ClassVar[str] = "Merge"
    source: ClassVar[str] = "arXiv:2106.09685"
    when_to_use: ClassVar[str] = (
        "The fastest and the usual choice for one or two LoRAs; with more of them, or with strong ones, they start to "
        "blur into each other."
    )
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = False

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        gates = {choice.name: choice.strength for choice in adapters}
        passes = (Pass(gates=gates),)
        return FusionPlan(adapters=tuple(gates), schedule=lambda state: passes, text_passes=(gates,))
