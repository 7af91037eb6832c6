"""LEGO: the ranks of all adapters as building blocks, like ones clustered into one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan
from lora_loom.pipelines.weight_space.merged_plan import merged_plan

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import LoraFactors
    from lora_loom.pipelines.request import AdapterChoice
    from lora_loom.pipelines.weight_space.layers import Layer


@dataclass(frozen=True)
class Lego(FusionMethod):
    """LoRA-LEGO (arXiv:2409.16167): k-means of all ranks of a layer into k clusters, one rank for each.

    The ranks are those of the canonical form, so the clusters do not depend on how a LoRA was trained. A cluster is
    scaled to the norm of what its ranks make together: k equal to the sum of the ranks is the exact sum. Below it a
    LoRA and its own negative do not cancel: (b, a) and (b, -a) are unlike units, while (-b, -a) is the same one.
    """

    name: ClassVar[str] = "lego"
    title: ClassVar[str] = "LEGO"
    source: ClassVar[str] = "arXiv:2409.16167"
    when_to_use: ClassVar[str] = (
        "LoRAs that teach much the same, such as several of one style: what they share becomes one, at a chosen rank. "
        "Unlike ones blur below the full rank, and a LoRA at a negative strength is not simply taken away."
    )
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = False

    rank: int = field(
        default=0,
        metadata={
            "help": "Clusters, so the rank of the result; 0 takes the largest rank fused. Opposite LoRAs cancel, and "
            "the sum is exact, only at the sum of the ranks.",
            "min": 0,
            "max": 1024,
        },
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        def rule(layer: Layer) -> LoraFactors:
            from lora_loom.pipelines.weight_space.lego import lego

            return lego(layer.updates, self.rank or layer.largest_rank)

        return merged_plan(self, adapters, rule, changes_one=self.rank > 0)
