"""SVD: the sum of all adapters, as one adapter of a rank that is chosen."""

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
class Svd(FusionMethod):
    """The best update of rank k to sum_i s_i B_i A_i at every layer (Eckart and Young), computed on the factors.

    What it loses is sqrt(sum_{j > k} S_j^2) of the sum's singular values; nothing once k is the sum of the ranks.
    """

    name: ClassVar[str] = "svd"
    title: ClassVar[str] = "SVD"
    source: ClassVar[str] = "Eckart-Young"
    when_to_use: ClassVar[str] = (
        "Several LoRAs as one of a small rank, to save memory or to pass on as one file; at the full rank it is Merge, "
        "below that the faintest details go first."
    )
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = False

    rank: int = field(
        default=0,
        metadata={"help": "Rank of the fused LoRA; 0 takes the largest of those fused.", "min": 0, "max": 1024},
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        def rule(layer: Layer) -> LoraFactors:
            from lora_loom.pipelines.weight_space.recompress import recompress
            from lora_loom.pipelines.weight_space.stack import stack

            return recompress(stack(layer.updates), self.rank or layer.largest_rank).factors

        return merged_plan(self, adapters, rule, changes_one=self.rank > 0)
