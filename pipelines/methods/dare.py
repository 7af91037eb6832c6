"""DARE: drop a random share of every adapter and scale up the rest, so that fewer values collide."""

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
class Dare(FusionMethod):
    """DARE (arXiv:2311.03099) on the updates in the basis that they share, layer by layer.

    Right in the mean, with noise of (1 / density - 1) times a LoRA's own energy: 0.11 at 0.9, 1 at 0.5. One LoRA alone
    is used as it is.
    """

    name: ClassVar[str] = "dare"
    title: ClassVar[str] = "DARE"
    source: ClassVar[str] = "arXiv:2311.03099"
    when_to_use: ClassVar[str] = (
        "For comparison with other tools: it thins LoRAs out at random, which suits the redundant updates of language "
        "models more than LoRAs for pictures. Another seed gives another variation."
    )
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = False

    density: float = field(
        default=0.9, metadata={"help": "Share of each LoRA's values that is kept.", "min": 0.05, "max": 1.0}
    )
    elect_signs: bool = field(default=False, metadata={"help": "Add only what agrees in sign, as TIES does."})
    mask_seed: int = field(default=0, metadata={"help": "Seed of what is dropped.", "min": 0, "max": 2**31 - 1})

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        def rule(layer: Layer) -> LoraFactors:
            from lora_loom.pipelines.weight_space.dare import dare, mask_seed

            seeds = [mask_seed(self.mask_seed, name, layer.component, layer.path) for name in layer.names]
            return dare(layer.updates, self.density, seeds, elect_signs=self.elect_signs)

        return merged_plan(self, adapters, rule)
