"""LiON: adapters turned apart at the outputs of every layer, with norms that are consistent over the depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.request import AdapterChoice


@dataclass(frozen=True)
class Lion(FusionMethod):
    """The principles of LiON-LoRA (arXiv:2507.05678), orthogonal features, consistent norms and linear strength, in
    closed form on the weights.

    Orthogonal: B_i is turned towards the closest set of updates whose outputs are orthogonal for every input; what a
    LoRA responds to and its singular values stay. Consistent: each layer's updates are scaled towards their common
    norm, without any LoRA gaining or losing strength as a whole. One LoRA alone is used as it is.
    """

    name: ClassVar[str] = "lion"
    title: ClassVar[str] = "LiON"
    source: ClassVar[str] = "arXiv:2507.05678"
    when_to_use: ClassVar[str] = (
        "LoRAs that get in each other's way: they write to different places of every layer, as fast as Merge. As it "
        "is set, a small change of Merge's sum that levels no norms; raise orthogonality when one swallows the other."
    )
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = False

    orthogonality: float = field(
        default=0.5,
        metadata={
            "help": "How far the LoRAs are turned apart: 0 is their plain sum, 1 orthogonal.",
            "min": 0.0,
            "max": 1.0,
        },
    )
    norm_consistency: float = field(
        default=0.0,
        metadata={
            "help": "How far their norms are levelled, layer by layer; 0 leaves all as they are.",
            "min": 0.0,
            "max": 1.0,
        },
    )
    linear: bool = field(
        default=True,
        metadata={
            "help": "Follow the slider of a LoRA that has one (loom train slider): half of it is half the effect."
        },
    )
    priority: float = field(
        default=1.0,
        metadata={
            "help": "How much more each LoRA keeps of itself than the next in order; 1 treats all alike.",
            "min": 1.0,
            "max": 100.0,
        },
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        strengths = {choice.name: choice.strength for choice in adapters}
        active = {name: strength for name, strength in strengths.items() if strength}
        passes = (Pass(gates=active),)

        def derive(sources: Mapping[str, Adapter]) -> Mapping[str, Adapter]:
            from lora_loom.pipelines.weight_space.layers import recipe_of
            from lora_loom.pipelines.weight_space.lion import turned_apart
            from lora_loom.pipelines.weight_space.rank_slider import bent
            from lora_loom.pipelines.weight_space.remember import remembered

            chosen = {name: sources[name] for name in active}
            if self.linear:
                chosen = {name: bent(adapter, active[name]) for name, adapter in chosen.items()}
            if len(chosen) < 2:
                return {**sources, **chosen}
            recipe = recipe_of(self.name, self.settings, active, chosen)
            priorities = {name: self.priority ** (len(active) - 1 - place) for place, name in enumerate(active)}
            turned = remembered(
                recipe,
                chosen,
                lambda: turned_apart(chosen, active, priorities, self.orthogonality, self.norm_consistency, recipe),
            )
            return {**sources, **turned}

        return FusionPlan(
            adapters=tuple(strengths), schedule=lambda state: passes, text_passes=(active,), derive=derive
        )
