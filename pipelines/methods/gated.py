"""Gated: the updates of all adapters summed live, each turned up or down by a learned gate where several meet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass

if TYPE_CHECKING:
    from lora_loom.pipelines.request import AdapterChoice


@dataclass(frozen=True)
class Gated(FusionMethod):
    """y = W x + sum_i g_i s_i B_i A_i x with g_i(layer, token, timestep, text) in (0, 2), one pass per step.

    The gate is learned once for a base and serves any adapters in any number (AutoLoRA, arXiv:2508.02107, with a
    neutral start; `lora_loom.pipelines.gating` has the formulas). Without a gate for the base, or for one adapter,
    it is `merge`.
    """

    name: ClassVar[str] = "gated"
    title: ClassVar[str] = "Gated"
    source: ClassVar[str] = "arXiv:2508.02107"
    when_to_use: ClassVar[str] = (
        "For four LoRAs and more in one pass: a gate trained on this base lets each speak where it matters. For two or "
        "three take Arbiter, which uses the same gate. On a base without a trained gate it draws what merge draws; "
        "`loom train gate` makes one."
    )
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = False

    gate: str = field(
        default="auto",
        metadata={
            "help": "the gate: auto for the one of this base, none, a name or the path of a gate file",
            "path": True,
        },
    )
    trust: float = field(
        default=1.0,
        metadata={
            "help": "how loud gates may turn the LoRAs together, over the base's own voice; the plain sum is allowed",
            "min": 0.0,
            "max": 10.0,
        },
    )
    top_k: int = field(
        default=0, metadata={"help": "how many LoRAs may speak at one spot; 0 lets all speak", "min": 0, "max": 64}
    )
    pinned: str = field(default="", metadata={"help": "names of LoRAs that no gate may touch, with commas between"})

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        gates = {choice.name: choice.strength for choice in adapters}
        passes = (Pass(gates=gates),)
        plan = FusionPlan(adapters=tuple(gates), schedule=lambda state: passes, text_passes=(gates,))
        if self.gate == "none" or len(gates) == 1:
            return plan
        from dataclasses import replace

        from lora_loom.pipelines.gating.choice import GateChoice
        from lora_loom.pipelines.gating.heat_log import HeatLog
        from lora_loom.pipelines.gating.rule import GateRule

        pinned = frozenset(name.strip() for name in self.pinned.split(",") if name.strip())
        rule = GateRule(
            GateChoice(self.gate),
            among=frozenset(gates),  # a plan under controls may hold exempt adapters besides
            pinned=pinned,
            trust=self.trust,
            top_k=self.top_k,
            heat=HeatLog(),
        )
        return replace(plan, layer_rule=rule)
