"""CMLoRA: one prediction per adapter, of which at most one is computed in full and the others replayed from a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.measured.frequency import FrequencySets, profile_of, sets_of
from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass, PassCosts, Predictions, Replay, StepState, weighted_mean
from lora_loom.pipelines.predictions.arbitration import Arbitration, arbitrated
from lora_loom.pipelines.predictions.cache_turns import SWITCH_AT, CacheTurns, by_dominance, cost, together, within
from lora_loom.pipelines.predictions.contributions import contributions
from lora_loom.pipelines.predictions.refresh import Turns, published

if TYPE_CHECKING:
    from torch import Tensor

    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.request import AdapterChoice

_BASE = ""  # among the members of a plan: the base's own pass; no adapter has an empty name


@dataclass(frozen=True)
class CMLoRA(FusionMethod):
    """Cached multi-LoRA composition (arXiv:2502.04923): predictions of single adapters, mostly replayed from a cache.

    `contributions` says how they become one. `sum`: eps = eps_base + sum_j (eps_j - eps_base); `arbitrated`: the same
    weighed place by place as `arbiter` does. The base is a pass of its own, and all passes are refreshed together on
    the published rhythm, every 2, 3 and 2 steps over the shares 0.375, 0.5 and 0.125 of a run, so that all of a
    difference is of one age. `mean` is the published mix, eps = sum_j w_j eps_j / sum_j w_j with w_j = c_k for the
    dominant adapter and 1 for the others, which leaves each adapter about 1/N of its effect: at each refresh k the next
    adapter of the pool becomes dominant and alone runs in full. The pool is the high-frequency set in the first 0.55 of
    the steps and the low-frequency set after it, both measured (`lora_loom.pipelines.measured.frequency`).

    c_0 = N - 1/2 is published. That it decays as c_k = 1 + (c_0 - 1) / 2^k, to the plain mean, is Loom's: in the
    released code the decay has no effect, and as written there it would end below the others' weight.
    """

    name: ClassVar[str] = "cmlora"
    title: ClassVar[str] = "CMLoRA"
    source: ClassVar[str] = "arXiv:2502.04923"
    when_to_use: ClassVar[str] = (
        "What each LoRA adds to the base, computed apart and mostly reused from an earlier step: on large bases near "
        "the time of a single pass, on small ones longer than Merge. With contributions=mean the published mix, in "
        "which each LoRA hardly shows."
    )
    passes_per_step: ClassVar[str] = "(N + 1)(q + (1 - q)s)"
    order_matters: ClassVar[bool] = False

    contributions: Literal["sum", "arbitrated", "mean"] = field(
        default="arbitrated",
        metadata={
            "help": "What the LoRAs add to the base: all of it, each in the places it changes most, or their published "
            "mean, which leaves each about its Nth part.",
            "formerly": "mean",
        },
    )
    interval: int = field(
        default=0,
        metadata={
            "help": "Steps between refreshes; 0 is the published uneven rhythm, 1 computes everything.",
            "min": 0,
            "max": 100,
        },
    )
    reuse: Literal["features", "outputs"] = field(
        default="features",
        metadata={"help": "What is kept between refreshes: deep features, or each LoRA's change of the prediction."},
    )
    branch: int = field(
        default=0, metadata={"help": "Shallow blocks beyond the first that a replay computes.", "min": 0, "max": 8}
    )
    max_age: int = field(
        default=20, metadata={"help": "Steps after which kept features are too old to replay.", "min": 1, "max": 1000}
    )
    budget: float = field(
        default=0.0,
        metadata={
            "help": "At most this many forwards of the base (FLOPs) per step on average; 0 is no limit.",
            "min": 0.0,
            "max": 100.0,
        },
    )
    low_frequency: str = field(
        default="",
        metadata={"help": "LoRAs that the mean treats as low-frequency (late), comma-separated; measured if empty."},
    )

    def compose(self, adapters: tuple[AdapterChoice, ...], num_inference_steps: int) -> FusionPlan:
        if len(adapters) == 1:
            alone = (Pass({adapters[0].name: adapters[0].strength}),)
            return FusionPlan((adapters[0].name,), lambda state: alone, (alone[0].gates,))
        names = [choice.name for choice in adapters]
        low = [name.strip() for name in self.low_frequency.split(",") if name.strip()]
        if unknown := [name for name in low if name not in names]:
            raise SettingError(
                f"low_frequency names {', '.join(unknown)}, which was not chosen",
                expected=f"some of {', '.join(names)}",
                found=self.low_frequency,
            )

        unmeasured = FrequencySets(high=tuple(name for name in names if name not in low), low=tuple(low))
        plan = self._plan(adapters, num_inference_steps, unmeasured)
        if self.contributions != "mean":
            return plan

        def settle(pipe: Any, loaded: Mapping[str, Adapter]) -> FusionPlan:
            profiles = {name: profile_of(pipe, loaded[name]) for name in names}
            return self._plan(adapters, num_inference_steps, sets_of(profiles, low or None, SWITCH_AT))

        return replace(plan, settle=settle)

    def _plan(self, adapters: tuple[AdapterChoice, ...], steps: int, sets: FrequencySets) -> FusionPlan:
        n = len(adapters)
        outputs, jointly = self.reuse == "outputs", self.contributions != "mean"
        members = tuple(choice.name for choice in adapters)
        if jointly and not outputs:
            members = (_BASE, *members)

        def arrange(turns: Turns) -> CacheTurns:
            age = steps if outputs else self.max_age  # differences to a pass that runs at every step
            return together(members, turns, age) if jointly else by_dominance(sets.high, sets.low, turns, age)

        def at_cost(costs: PassCosts) -> FusionPlan:
            reference = 1.0 if outputs else 0.0
            turns = arrange(published(n, steps, self.interval))
            if self.budget:
                turns = within(
                    self.budget, arrange, len(members), steps, costs=costs, reference=reference, jointly=jointly
                )
            spent = cost(turns, len(members), costs=costs, reference=reference)
            return replace(self._scheduled(adapters, turns), predicted_cost=spent)

        if outputs:
            return at_cost(PassCosts())
        plan = self._scheduled(adapters, arrange(published(n, steps, self.interval)))
        return replace(plan, at_cost=at_cost)

    def _scheduled(self, adapters: tuple[AdapterChoice, ...], turns: CacheTurns) -> FusionPlan:
        gates = {choice.name: {choice.name: choice.strength} for choice in adapters}
        n, outputs, mean = len(adapters), self.reuse == "outputs", self.contributions == "mean"
        every = {choice.name: choice.strength for choice in adapters}
        beside = Pass(every, weight=0.0) if mean else Pass({})

        def schedule(state: StepState) -> Sequence[Pass]:
            now = turns[min(state.index, len(turns) - 1)]
            c = 1 + (n - 1.5) / 2**now.refresh if mean else 1.0
            own = [
                Pass(
                    its,
                    weight=c if name == now.dominant else 1.0,
                    reuse="full" if name in now.full else "delta" if outputs else "replay",
                )
                for name, its in gates.items()
            ]
            if outputs:
                return (beside, *own)
            return own if mean else (replace(beside, reuse="full" if _BASE in now.full else "replay"), *own)

        texts = tuple(gates.values())
        return FusionPlan(
            adapters=tuple(gates),
            schedule=schedule,
            text_passes=texts if mean and not outputs else (beside.gates, *texts),
            combine=self._combine,
            replay=None if outputs else Replay(self.branch, self.max_age),
        )

    def _combine(self, predictions: Predictions) -> Tensor:
        if self.contributions == "mean" or len(predictions.passes) == 1:
            return weighted_mean(predictions)
        if self.contributions == "sum":
            base, deltas = contributions(predictions)
            return base + deltas.sum(dim=0)
        return arbitrated(predictions, Arbitration())
