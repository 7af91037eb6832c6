"""Running a plan at the denoiser: each call of the pipeline is answered with the combined prediction of all passes."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.measured.influence import Influence
from lora_loom.pipelines.plan import FusionPlan, Pass, PassCosts, Predictions
from lora_loom.pipelines.runtime.bank import ModelBank
from lora_loom.pipelines.runtime.call import DenoiserCall
from lora_loom.pipelines.runtime.feature_cache import FeatureCache
from lora_loom.pipelines.runtime.influence import InfluenceMeter
from lora_loom.pipelines.runtime.output_deltas import OutputDeltas
from lora_loom.pipelines.runtime.prompts import PromptEncodings
from lora_loom.pipelines.runtime.replay_cost import pass_costs
from lora_loom.pipelines.runtime.steps import StepClock
from lora_loom.pipelines.runtime.targets import DenoiserSlot

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter


class PlanRun:
    """Answers the pipeline's calls to its denoiser while a plan is in force, and counts the passes by what they reused.

    The passes of a step run as one batch, pass by pass along the batch axis; more than `max_batch` samples, or more
    than the memory holds, run in parts. Every input with the batch in front is repeated for each pass, and the text
    conditioning replaced by the pass's own encoding of the prompt. What passes leave for later steps ends with the run.
    `adapters` are those of the plan by name, `guided` tells whether a batch holds both halves of guidance.
    """

    def __init__(
        self,
        slot: DenoiserSlot,
        plan: FusionPlan,
        bank: ModelBank,
        prompts: PromptEncodings,
        clock: StepClock,
        max_batch: int | None,
        *,
        adapters: Mapping[str, Adapter],
        guided: Callable[[], bool],
        meter: InfluenceMeter | None = None,
    ) -> None:
        self.passes: Counter[str] = Counter()  # by kind; each call of the pipeline runs every pass of its step
        self._slot = slot
        self._given = self._plan = plan
        self._bank = bank
        self._prompts = prompts
        self._clock = clock
        self._max_batch = max_batch
        self._adapters = adapters
        self._guided = guided
        self._meter = meter
        self._parameters = [name for name in inspect.signature(type(slot.model).forward).parameters if name != "self"]
        self._weights: dict[tuple[float, ...], Tensor] = {}
        self._place: tuple[int, int] = (-1, -1)  # run and step of the last call
        self._branch = 0  # how many calls came before it in the same step
        self._grid: tuple[int, int] | None = None
        self._calls = 0
        self._step = 0  # as plans count: both calls of a second-order step are one
        self._costs = PassCosts()
        self._deltas = OutputDeltas()
        self._features = None
        if plan.replay is not None:
            self._features = FeatureCache(slot.model, plan.replay.branch, plan.replay.max_age)
        self._memory: dict[str, Any] = {}

    @property
    def cost(self) -> float | None:
        """Forwards per call of the pipeline so far; None before the first.

        Passes are counted at their FLOPs where the plan asks for them (`at_cost`); else each in full is one forward
        and a replayed one nothing.
        """
        if not self._calls:
            return None
        costs = self._costs
        return (costs.full * self.passes["full"] + costs.replayed * self.passes["replay"]) / self._calls

    @property
    def predicted_cost(self) -> float | None:
        """What the plan meant to spend per step; None where it had nothing to spare."""
        return self._plan.predicted_cost

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = DenoiserCall.of(self._slot, dict(zip(self._parameters, args, strict=False)) | kwargs)
        self._follow(call)
        state = self._clock.state(call.time, call.sample, self._slot.family.call.unit)
        self._step = state.index
        self._bank.at(state, self._grid)
        passes = self._plan.schedule(state)
        output, noise_preds = self._predict(passes, call)
        self._calls += 1
        predictions = Predictions(
            noise_preds=noise_preds,
            weights=self._weights_of(passes, noise_preds),
            passes=passes,
            state=state,
            halves=2 if self._both_halves(call) else 1,
            conditional_first=self._slot.family.guidance.halves == "positive first",
            conditional=self._branch == 0,
            grid=self._grid,
            memory=self._memory,
        )
        combined = self._plan.combine(predictions)
        if self._meter is not None:
            self._meter.observe(predictions, combined, self._plan.combine, self._prober(call, predictions))
        return call.like(output, combined)

    @property
    def influence(self) -> dict[str, Influence]:
        """How much each adapter changed the prediction so far, by name; empty where nobody asked or could tell."""
        return {} if self._meter is None else self._meter.found()

    def _prober(self, call: DenoiserCall, predictions: Predictions) -> Callable[[Sequence[Pass]], Tensor]:
        """Predicts passes that are not the plan's, for the rows that decide."""

        def probe(passes: Sequence[Pass]) -> Tensor:
            part = call.rows(predictions.deciding)
            self._bank.activate([each.gates for each in passes])
            try:
                inputs = part.for_passes(passes, self._prompts)
            except BaseModelError:  # the pipeline's own encoding cannot be told apart: it stays what it is
                said = predictions.passes[0].encoded_with
                inputs = part.for_passes([replace(each, text_gates=said) for each in passes], self._prompts)
            self._bank.told(call.states(inputs), probing=True)
            noise_preds = call.predicted(self._slot.model(**inputs))
            self.passes["probe"] += len(passes)
            return noise_preds.view(len(passes), part.batch, *noise_preds.shape[1:])

        return probe

    def _follow(self, call: DenoiserCall) -> None:
        """Notice a new run, a new step, and a further call of the same step."""
        place = (self._clock.runs, self._clock.step)
        if place[0] != self._place[0]:
            if self._meter is not None:
                self._meter.begin()
            self._deltas.clear()
            if self._features is not None:
                self._features.clear()
            self._memory.clear()
            self._grid = call.grid()
            if self._given.at_cost is not None and self._given.replay is not None:
                self._costs = pass_costs(self._slot.model, self._given.replay, call.arguments, self._adapters.values())
                self._plan = self._given.at_cost(self._costs)
        self._branch = self._branch + 1 if place == self._place else 0
        self._place = place

    def _both_halves(self, call: DenoiserCall) -> bool:
        """Whether the batch of this call holds both halves of guidance."""
        in_one_batch = self._slot.family.guidance.halves != "calls"
        return in_one_batch and self._guided() and call.batch % 2 == 0

    def _predict(self, passes: Sequence[Pass], call: DenoiserCall) -> tuple[Any, Tensor]:
        """An output of the denoiser, for its form, and the predictions of all passes [n b ...]."""
        own = [self._key([each], call) for each in passes]
        first = [next(k for k, other in enumerate(passes) if other.region == each.region) for each in passes]
        beside = [self._key([each, passes[first[k]]], call) for k, each in enumerate(passes)]
        kinds = [self._kind(each, own[k], beside[k] if k != first[k] else None) for k, each in enumerate(passes)]
        found: dict[int, Tensor] = {}
        outputs: list[Any] = []
        for kind in ("full", "replay"):
            if members := [k for k, its in enumerate(kinds) if its == kind]:
                ran = self._run_in_parts([passes[k] for k in members], call, kind, [own[k] for k in members])
                outputs += ran
                predicted = [call.predicted(each) for each in ran]
                parts = torch.cat(predicted) if len(ran) > 1 else predicted[0]
                found |= dict(zip(members, parts.view(len(members), call.batch, *parts.shape[1:]), strict=True))
        for k, noise_pred in found.items():
            self._deltas.remember(beside[k], noise_pred, found[first[k]])
        if len(outputs) == 1 and len(found) == len(passes):
            whole = call.predicted(outputs[0])
            return outputs[0], whole.view(len(passes), call.batch, *whole.shape[1:])  # [n b ...]
        if missing := kinds.count("delta"):
            self.passes["delta"] += missing
        every = [
            found[k] if k in found else self._deltas.recall(beside[k], found[first[k]]) for k in range(len(passes))
        ]
        return outputs[0], torch.stack(every)

    def _kind(self, each: Pass, own: Hashable, beside: Hashable) -> str:
        """What is done for a pass: what it asks for, or all of it where there is nothing to reuse."""
        if each.reuse == "delta" and beside is not None and self._deltas.holds(beside):
            return "delta"
        if each.reuse == "replay" and self._features is not None and self._features.holds(own, self._step):
            return "replay"
        return "full"

    def _key(self, passes: Sequence[Pass], call: DenoiserCall) -> Hashable:
        """All that features of a pass, or its difference to the other one, depend on, but the step."""

        def acting(gates: Mapping[str, float]) -> Hashable:
            return tuple(sorted((name, self._adapters[name].sha256, gate) for name, gate in gates.items() if gate))

        of_passes = [acting(gates) for each in passes for gates in (each.gates, each.encoded_with)]
        regions = [each.region for each in passes]
        return *of_passes, *regions, self._branch, self._guided(), tuple(call.sample.shape), call.sample.dtype

    def _run_in_parts(
        self, passes: Sequence[Pass], call: DenoiserCall, kind: str, keys: Sequence[Hashable]
    ) -> list[Any]:
        uneven = call.form.listed and any(each.region for each in passes)  # prompts of their own have their own lengths
        at_once = 1 if uneven else len(passes) if self._max_batch is None else max(self._max_batch // call.batch, 1)
        outputs: list[Any] = []
        done = 0
        while done < len(passes):
            part = passes[done : done + at_once]
            try:
                with self._reusing(kind, keys[done : done + len(part)]):
                    outputs.append(self._run(part, call))
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                at_once = (len(part) + 1) // 2
                self._max_batch = at_once * call.batch  # for the steps that follow, too
                continue
            done += len(part)
            self.passes[kind] += len(part)
        return outputs

    def _reusing(self, kind: str, keys: Sequence[Hashable]) -> AbstractContextManager[None]:
        if self._features is None:
            return nullcontext()
        return self._features.replaying(keys) if kind == "replay" else self._features.recording(keys, self._step)

    def _run(self, passes: Sequence[Pass], call: DenoiserCall) -> Any:
        self._bank.activate([each.gates for each in passes])
        inputs = call.for_passes(passes, self._prompts)
        self._bank.told(call.states(inputs))
        # what changes from step to step would be compiled anew each time
        called = self._slot.called if self._features is None else self._slot.model
        return called(**inputs)

    def _weights_of(self, passes: Sequence[Pass], noise_preds: Tensor) -> Tensor:
        weights = tuple(each.weight for each in passes)
        if weights not in self._weights:
            self._weights[weights] = torch.tensor(weights, device=noise_preds.device)
        return self._weights[weights]


class StandIn:
    """What a pipeline holds in its denoiser's place: the real one in everything but the call, its type included."""

    __slots__ = ("__weakref__", "_answer", "_real")

    def __init__(self, real: Any, answer: Callable[..., Any]) -> None:
        object.__setattr__(self, "_real", real)
        object.__setattr__(self, "_answer", answer)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return object.__getattribute__(self, "_answer")(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_real"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(object.__getattribute__(self, "_real"), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(object.__getattribute__(self, "_real"), name)

    @property  # pipelines and accelerate ask isinstance(unet, nn.Module)
    def __class__(self) -> type[Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        real: object = object.__getattribute__(self, "_real")
        return type(real)
