"""Arbiter: at each place of the picture the adapter speaks that has most to say there, relative to its own average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass, Predictions, StepState
from lora_loom.pipelines.predictions.arbitration import Arbitration, arbitrated, speaking_of
from lora_loom.pipelines.predictions.contributions import contribution_plan, for_both_halves
from lora_loom.pipelines.predictions.refresh import affordable, least_cost

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.request import AdapterChoice
    from lora_loom.pipelines.runtime.rules import LayerRule

BUDGET = 2.0  # passes per step that are spent where nobody says


@dataclass(frozen=True)
class Arbiter(FusionMethod):
    """eps = eps_base + sum_i gamma_i w_i Delta_i with Delta_i = eps_i - eps_base, w decided place by place.

    m_i = smooth_k(|Delta_i|^2) / its mean over the picture, w = softmax_i(s log m_i) with s the `sharpness`; adapters
    with a flat map, as styles have, speak everywhere (`lora_loom.pipelines.predictions.arbitration`).
    A rival at strength s_i < 1 comes with that much less of a claim, and at s_i -> 0 takes nothing from the others.
    gamma_i = sum |Delta_i|^2 / sum w_i |Delta_i|^2 gives back what arbitration takes from adapter i. Decided per sample
    on the conditional half of guidance, and the same for both halves.

    `where` it is decided: `output`, on predictions at every step, the N contributions in turns within the `budget`
    and reused in between; `layers`, on |B_i A_i x|^2 at each layer and place, in one pass; `both`, on predictions in
    the first steps, as many as the budget allows, where it is settled what stands where, and then in the layers;
    `regions`, in the same first steps, whose decision is kept as regions in which the adapters act inside the layers
    in one pass. Where layers decide, a gate that was trained for the base (see `gated`) turns up or down what
    arbitration has left.
    """

    name: ClassVar[str] = "arbiter"
    title: ClassVar[str] = "Arbiter"
    source: ClassVar[str] = "Loom"
    when_to_use: ClassVar[str] = (
        "For LoRAs that must all show in one picture: each rules the places it changes most and leaves the others be. "
        "Takes twice as long as Merge and more."
    )
    passes_per_step: ClassVar[str] = "2"
    order_matters: ClassVar[bool] = False

    sharpness: float = field(
        default=3.0,
        metadata={
            "help": "How clearly one LoRA wins a place; 0 shares every place equally.",
            "min": 0.0,
            "max": 20.0,
        },
    )
    smoothing: int = field(
        default=3, metadata={"help": "Latent pixels over which places are judged together.", "min": 1, "max": 31}
    )
    gain: float = field(
        default=0.0,
        metadata={
            "help": "Strength given back to all; 0 gives each LoRA what arbitration took from it.",
            "min": 0.0,
            "max": 10.0,
        },
    )
    max_gain: float = field(
        default=2.5, metadata={"help": "The most that is given back by itself.", "min": 1.0, "max": 10.0}
    )
    flat_from: float = field(
        default=0.8,
        metadata={
            "help": "How evenly a LoRA must change the picture to speak everywhere, as a style; 1 is never.",
            "min": 0.0,
            "max": 1.0,
        },
    )
    where: Literal["output", "both", "regions", "layers"] = field(
        default="both",
        metadata={
            "help": "Decide on predictions; there first and then by layer; there first and keep the regions; by layer."
        },
    )
    gate: str = field(
        default="auto",
        metadata={
            "help": "The trained gate beside it in the layers: auto for the one of this base if there is one, none, a "
            "name or the path of a gate file.",
            "path": True,
        },
    )
    budget: float = field(
        default=0.0,
        metadata={
            "help": "At most this many passes per step on average; 0 is 2, or the least there can be.",
            "min": 0.0,
            "max": 100.0,
        },
    )

    @property
    def arbitration(self) -> Arbitration:
        return Arbitration(self.sharpness, self.smoothing, self.gain, self.max_gain, self.flat_from)

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        budget = self.budget or max(BUDGET, least_cost(len(adapters), num_inference_steps, share=0.0, reference=1.0))
        if self.where == "layers":
            return self._in_layers(adapters)
        if self.where == "output" or len(adapters) == 1:
            return contribution_plan(adapters, num_inference_steps, self._combine, budget=budget)
        return self._at_first(adapters, num_inference_steps, budget)

    def _combine(self, predictions: Predictions) -> Tensor:
        return arbitrated(predictions, self.arbitration)

    def _in_layers(self, adapters: tuple[AdapterChoice, ...]) -> FusionPlan:
        together = _together(adapters)
        plan = FusionPlan(tuple(together.gates), lambda state: (together,), (together.gates,))
        return replace(plan, layer_rule=self._layer_rule(together))

    def _at_first(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int, budget: float) -> FusionPlan:
        """On predictions in the first steps, as many as the budget allows, and then in one pass inside the layers."""
        from lora_loom.pipelines.runtime.arbitration import RegionedLayers

        n, together = len(adapters), _together(adapters)
        deciding = 1 + affordable(n, num_inference_steps, budget, share=0.0, reference=1.0) // n
        apart = contribution_plan(adapters, num_inference_steps, self._combine)
        regions = RegionedLayers(tuple(together.gates)) if self.where == "regions" else None

        def schedule(state: StepState) -> Sequence[Pass]:
            if state.index >= deciding:
                return (together,)
            return apart.schedule(state)

        def combine(predictions: Predictions) -> Tensor:
            if len(predictions.passes) == 1:
                return predictions.noise_preds[0]
            if regions is not None and len(predictions.passes) == n + 1:  # not asked what it were without one of them
                regions.decide(for_both_halves(predictions, speaking_of(predictions, self.arbitration)).clamp_max(1.0))
            return self._combine(predictions)

        cost = 1 + n * deciding / num_inference_steps
        texts = (*apart.text_passes, together.gates)
        rule = regions or self._layer_rule(together)
        rule.from_step = deciding
        return FusionPlan(apart.adapters, schedule, texts, combine, layer_rule=rule, predicted_cost=cost)

    def _layer_rule(self, together: Pass) -> LayerRule:
        from lora_loom.pipelines.runtime.arbitration import ArbitratedLayers

        arbitrated = ArbitratedLayers(self.arbitration)
        if self.gate == "none":
            return arbitrated
        from lora_loom.pipelines.gating.choice import GateChoice
        from lora_loom.pipelines.gating.heat_log import HeatLog
        from lora_loom.pipelines.gating.rule import GateRule

        among = frozenset(together.gates)  # a plan under controls may hold exempt adapters besides
        return GateRule(GateChoice(self.gate), among=among, heat=HeatLog(), after=arbitrated)


def _together(adapters: tuple[AdapterChoice, ...]) -> Pass:
    return Pass({choice.name: choice.strength for choice in adapters})
