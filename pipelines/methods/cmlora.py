"""CMLoRA: one prediction per adapter, of which at most one is computed in full and the others replayed from a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.measured.frequency import FrequencySets, profile_of, sets_of
from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import FusionPlan, Pass, Replay, StepState
from lora_loom.pipelines.predictions.refresh import Turns, affordable, published, rhythmically, rotation

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.request import AdapterChoice

SWITCH_AT = 0.55  # of the progress: the code changes phase at step 120 of 220 or 200


@dataclass(frozen=True)
class CMLoRA(FusionMethod):
    """Cached multi-LoRA composition (arXiv:2502.04923), the published loop with its cache running.

    eps = sum_j w_j eps_j / sum_j w_j with w_j = c_k for the dominant adapter and 1 for the others. At each refresh k
    the next adapter of the pool becomes dominant and runs in full; all others replay their deep features. The pool is
    the high-frequency set while the progress is below 0.55 and the low-frequency set after it, both measured (see
    `lora_loom.pipelines.measured.frequency`). c_k = 1 + (c_0 - 1) / 2^k with c_0 = N - 1/2 decays to the plain mean;
    in the released code the decay has no effect. Refreshes come every 2, 3 and 2 steps over the shares 0.375, 0.5 and
    0.125 of a run.
    """

    name: ClassVar[str] = "cmlora"
    title: ClassVar[str] = "CMLoRA"
    source: ClassVar[str] = "arXiv:2502.04923"
    when_to_use: ClassVar[str] = (
        "Composite at a fraction of its time, on large bases below that of a single pass: most of each LoRA's "
        "prediction is reused from an earlier step. As gentle as Composite, so raise the strengths."
    )
    passes_per_step: ClassVar[str] = "q + (N - q)s"
    order_matters: ClassVar[bool] = False

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
            "help": "At most this many full passes' worth of work per step on average; 0 is no limit.",
            "min": 0.0,
            "max": 100.0,
        },
    )
    low_frequency: str = field(
        default="",
        metadata={"help": "LoRAs to treat as low-frequency (late), comma-separated; measured if empty."},
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

        def settle(pipe: Any, loaded: Mapping[str, Adapter]) -> FusionPlan:
            profiles = {name: profile_of(pipe, loaded[name]) for name in names}
            return self._plan(adapters, num_inference_steps, sets_of(profiles, low or None, SWITCH_AT))

        unmeasured = FrequencySets(high=tuple(name for name in names if name not in low), low=tuple(low))
        return replace(self._plan(adapters, num_inference_steps, unmeasured), settle=settle)

    def _plan(self, adapters: tuple[AdapterChoice, ...], steps: int, sets: FrequencySets) -> FusionPlan:
        n = len(adapters)
        if self.reuse == "outputs":
            turns = published(n, steps, self.interval)
            if self.budget:
                turns = rhythmically(n, steps, affordable(n, steps, self.budget, share=0.0, reference=1.0))
            return replace(self._scheduled(adapters, sets, turns), predicted_cost=1 + sum(turns) / steps)
        plan = self._scheduled(adapters, sets, published(n, steps, self.interval))

        def at_cost(share: float) -> FusionPlan:
            turns = rhythmically(n, steps, affordable(n, steps, self.budget, share=share, reference=0.0))
            full = sum(turns)
            return replace(
                self._scheduled(adapters, sets, turns), predicted_cost=(full + share * (n * steps - full)) / steps
            )

        return replace(plan, at_cost=at_cost) if self.budget else plan

    def _scheduled(self, adapters: tuple[AdapterChoice, ...], sets: FrequencySets, turns: Turns) -> FusionPlan:
        gates = {choice.name: {choice.name: choice.strength} for choice in adapters}
        everyone, n = (*sets.high, *sets.low), len(adapters)
        at = rotation(turns, n)
        refreshes = tuple(accumulate(1 if turn else 0 for turn in turns))
        together = Pass({choice.name: choice.strength for choice in adapters}, weight=0.0)
        outputs = self.reuse == "outputs"

        def schedule(state: StepState) -> Sequence[Pass]:
            step = min(state.index, len(turns) - 1)
            pool = (sets.high if state.progress < SWITCH_AT else sets.low) or everyone
            order = (*(pool[(at[step] - k) % len(pool)] for k in range(len(pool))), *everyone)
            running = tuple(dict.fromkeys(order))[: turns[step]]
            c = 1 + (n - 1.5) / 2 ** (refreshes[step] - 1)
            own = [
                Pass(
                    its,
                    weight=c if name == order[0] else 1.0,
                    reuse="full" if name in running else "delta" if outputs else "replay",
                )
                for name, its in gates.items()
            ]
            return (together, *own) if outputs else own

        return FusionPlan(
            adapters=tuple(gates),
            schedule=schedule,
            text_passes=(together.gates, *gates.values()) if outputs else tuple(gates.values()),
            replay=None if outputs else Replay(self.branch, self.max_age),
        )
