"""Running a plan at the denoiser: each call of the pipeline is answered with the combined prediction of all passes."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from pipelines.plan import FusionPlan, Pass
from pipelines.runtime.bank import ModelBank
from pipelines.runtime.prompts import PromptEncodings
from pipelines.runtime.steps import StepClock
from pipelines.runtime.targets import DenoiserSlot

TEXT_INPUTS = frozenset({"encoder_hidden_states", "pooled_projections", "text_embeds"})
UNBATCHED_INPUTS = frozenset({"img_ids", "txt_ids"})  # positions of tokens: one list for the whole batch


class PlanRun:
    """Answers the pipeline's calls to its denoiser while a plan is in force, and counts the passes.

    The passes of a step run as one batch, pass by pass along the batch axis; more than `max_batch` samples, or more
    than the memory holds, run in parts. Every input with the batch in front is repeated for each pass, and the text
    conditioning replaced by the pass's own encoding of the prompt.
    """

    def __init__(
        self,
        slot: DenoiserSlot,
        plan: FusionPlan,
        bank: ModelBank,
        prompts: PromptEncodings,
        clock: StepClock,
        max_batch: int | None,
    ) -> None:
        self.passes: Counter[str] = Counter()  # by kind; each call of the pipeline runs every pass of its step
        self._slot = slot
        self._plan = plan
        self._bank = bank
        self._prompts = prompts
        self._clock = clock
        self._max_batch = max_batch
        self._parameters = [name for name in inspect.signature(type(slot.model).forward).parameters if name != "self"]
        self._weights: dict[tuple[float, ...], Tensor] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = dict(zip(self._parameters, args, strict=False)) | kwargs
        sample: Tensor = call[self._slot.sample]
        timestep = float(torch.as_tensor(call["timestep"]).flatten()[0]) * self._slot.timestep_scale
        state = self._clock.state(timestep, sample)
        self._bank.at(state)
        passes = self._plan.schedule(state)
        outputs = self._run_in_parts(passes, call, len(sample))
        predictions = torch.cat([output[0] for output in outputs]) if len(outputs) > 1 else outputs[0][0]
        predictions = predictions.view(len(passes), -1, *predictions.shape[1:])  # [n b ...]
        return _like(outputs[0], self._plan.combine(predictions, self._weights_of(passes, predictions)))

    def _run_in_parts(self, passes: Sequence[Pass], call: Mapping[str, Any], batch: int) -> list[Any]:
        at_once = len(passes) if self._max_batch is None else max(self._max_batch // batch, 1)
        outputs: list[Any] = []
        done = 0
        while done < len(passes):
            part = passes[done : done + at_once]
            try:
                outputs.append(self._run(part, call, batch))
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise
                at_once = (len(part) + 1) // 2
                self._max_batch = at_once * batch  # for the steps that follow, too
                continue
            done += len(part)
            self.passes["full"] += len(part)
        return outputs

    def _run(self, passes: Sequence[Pass], call: Mapping[str, Any], batch: int) -> Any:
        self._bank.activate([each.gates for each in passes])

        def per_pass(name: str, value: Any) -> Any:
            if isinstance(value, Tensor):
                if value.ndim == 0 or len(value) != batch or name in UNBATCHED_INPUTS:
                    return value
                if name in TEXT_INPUTS:
                    rows = [self._prompts.for_pass(value, each.encoded_with) for each in passes]
                    return torch.cat(rows) if len(rows) > 1 else rows[0]
                return value.repeat(len(passes), *(1,) * (value.ndim - 1)) if len(passes) > 1 else value
            if isinstance(value, dict):
                return {key: per_pass(key, each) for key, each in cast("dict[str, Any]", value).items()}
            if isinstance(value, list | tuple):
                return [per_pass(name, each) for each in cast("list[Any]", value)]
            return value

        return self._slot.called(**{name: per_pass(name, value) for name, value in call.items()})

    def _weights_of(self, passes: Sequence[Pass], predictions: Tensor) -> Tensor:
        weights = tuple(each.weight for each in passes)
        if weights not in self._weights:
            self._weights[weights] = torch.tensor(weights, device=predictions.device)
        return self._weights[weights]


class StandIn:
    """What a pipeline holds in its denoiser's place: the real one in everything but the call, its type included."""

    __slots__ = ("_answer", "_real")

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


def _like(output: Any, prediction: Tensor) -> Any:
    """The prediction in the form the denoiser answered in: a tuple, or a diffusers output of one field."""
    return (prediction,) if isinstance(output, tuple) else type(output)(sample=prediction)
