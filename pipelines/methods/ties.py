"""TIES: trim what is small in every adapter, and where they disagree in sign follow the majority by weight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan
from lora_loom.pipelines.weight_space.merged_plan import merged_plan

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import LoraFactors
    from lora_loom.pipelines.request import AdapterChoice
    from lora_loom.pipelines.weight_space.layers import Layer


@dataclass(frozen=True)
class Ties(FusionMethod):
    """TIES (arXiv:2306.01708) on the updates in the basis that they share (KnOTS, arXiv:2410.19735), layer by layer.

    Signs are elected by strength x value, so a faint LoRA has a faint vote. `total` adds the values that agree, the
    paper's own rule is their mean. Trimming counts the entries of the R x R cores, not those of the update as the paper
    does: a LoRA of rank r fills about r of the r^2 entries of its own basis, so trimming takes little of its energy.
    One LoRA alone is used as it is.
    """

    name: ClassVar[str] = "ties"
    title: ClassVar[str] = "TIES"
    source: ClassVar[str] = "arXiv:2306.01708"
    when_to_use: ClassVar[str] = (
        "Two LoRAs that pull in opposite directions: the stronger wins each conflict instead of both cancelling. Made "
        "for large language models; for pictures try LiON or Merge first."
    )
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = False

    density: float = field(
        default=0.5,
        metadata={
            "help": "Share of each LoRA's values that trimming keeps, counted in the basis they share. That basis "
            "gathers a LoRA in few values, so this takes far less than the paper's trimming of single weights.",
            "min": 0.01,
            "max": 1.0,
        },
    )
    total: Literal["sum", "mean"] = field(
        default="sum", metadata={"help": "Add the values that agree (sum), or average them as in the paper (mean)."}
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        def rule(layer: Layer) -> LoraFactors:
            from lora_loom.pipelines.weight_space.ties import ties

            return ties(layer.updates, self.density, self.total)

        return merged_plan(self, adapters, rule)
