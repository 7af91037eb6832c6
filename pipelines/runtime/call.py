"""One call of a pipeline to its denoiser, and what it is when several passes answer it as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lora_loom.pipelines.families.family import Call
from lora_loom.pipelines.plan import Pass
from lora_loom.pipelines.runtime.prompts import PromptEncodings
from lora_loom.pipelines.runtime.targets import DenoiserSlot


@dataclass(frozen=True)
class DenoiserCall:
    """The arguments of the call by name. `sample` [b ...] is the noisy input, `time` what the denoiser is told."""

    form: Call
    arguments: Mapping[str, Any]
    sample: Tensor
    time: float

    @classmethod
    def of(cls, slot: DenoiserSlot, arguments: Mapping[str, Any]) -> DenoiserCall:
        form = slot.family.call
        time = float(torch.as_tensor(arguments[form.timestep]).flatten()[0])
        sample = arguments[form.sample]
        return cls(form, arguments, _stacked(sample) if form.listed else sample, time)

    @property
    def batch(self) -> int:
        return len(self.sample)

    def for_passes(self, passes: Sequence[Pass], prompts: PromptEncodings) -> dict[str, Any]:
        """The arguments with passes outermost in the batch: repeated for each, with its own encoding of the prompt."""

        def per_pass(name: str, value: Any) -> Any:
            if isinstance(value, Tensor):
                if value.ndim == 0 or len(value) != self.batch or name in self.form.unbatched:
                    return value
                if name in self.form.text:
                    rows = [prompts.for_pass(value, each.encoded_with, each.region) for each in passes]
                    return torch.cat(rows) if len(rows) > 1 else rows[0]
                if name == self.form.mask:
                    states: Tensor = self.arguments[self.form.states]
                    after = self.form.mask_after
                    masks = [prompts.mask_for_pass(value, states, after, each.region) for each in passes]
                    return torch.cat(masks) if len(masks) > 1 else masks[0]
                return value.repeat(len(passes), *(1,) * (value.ndim - 1)) if len(passes) > 1 else value
            if isinstance(value, dict):
                return {key: per_pass(key, each) for key, each in cast("dict[str, Any]", value).items()}
            if isinstance(value, list | tuple):
                if self._lists(name):
                    return self._listed_per_pass(name, list(cast("list[Tensor]", value)), passes, prompts)
                return [per_pass(name, each) for each in cast("list[Any]", value)]
            return value

        return {name: per_pass(name, value) for name, value in self.arguments.items()}

    def rows(self, kept: slice) -> DenoiserCall:
        """The call for some of its samples only."""

        def cut(name: str, value: Any) -> Any:
            if isinstance(value, Tensor):
                whole = value.ndim == 0 or len(value) != self.batch or name in self.form.unbatched
                return value if whole else value[kept]
            if isinstance(value, dict):
                return {key: cut(key, each) for key, each in cast("dict[str, Any]", value).items()}
            if isinstance(value, list | tuple):
                several = cast("list[Any]", value)
                return list(several[kept]) if self._lists(name) else [cut(name, each) for each in several]
            return value

        arguments = {name: cut(name, value) for name, value in self.arguments.items()}
        return DenoiserCall(self.form, arguments, self.sample[kept], self.time)

    def predicted(self, output: Any) -> Tensor:
        """The prediction in an output of the denoiser, [b ...] as the sample is."""
        return _stacked(output[0]) if self.form.listed else output[0]

    def like(self, output: Any, prediction: Tensor) -> Any:
        """The prediction in the form the denoiser answered in: a tuple, or a diffusers output of one field."""
        value: Any = list(prediction.unsqueeze(2).unbind()) if self.form.listed else prediction
        return (value,) if isinstance(output, tuple) else type(output)(sample=value)

    def states(self, arguments: Mapping[str, Any]) -> Tensor | None:
        """The token states of the text in the arguments [b t d], shorter ones of a list filled up with zeros."""
        found = arguments.get(self.form.states)
        if self.form.listed and found is not None:
            return torch.nn.utils.rnn.pad_sequence(found, batch_first=True)
        return found

    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the picture when the sample comes as tokens, None when it comes as a picture.

        The family may tell them in the positions of the tokens, [(h w) 3]. Tokens of no rectangle are one row.
        """
        if self.sample.ndim != 3:
            return None
        ids, tokens = self.arguments.get(self.form.positions), self.sample.shape[1]
        if isinstance(ids, Tensor):
            rows, columns = (int(each) + 1 for each in ids.reshape(-1, 3)[:, 1:].amax(dim=0))
            if rows * columns == tokens:
                return rows, columns
        return 1, tokens

    def _lists(self, name: str) -> bool:
        return self.form.listed and name in (self.form.sample, *self.form.text)

    def _listed_per_pass(
        self, name: str, value: list[Tensor], passes: Sequence[Pass], prompts: PromptEncodings
    ) -> list[Tensor]:
        if name not in self.form.text:
            return value * len(passes)
        return [prompts.one_for_pass(each, one.encoded_with, one.region) for one in passes for each in value]


def _stacked(pictures: Sequence[Tensor]) -> Tensor:
    """Pictures of one frame each, [c 1 h w], as a batch [b c h w]."""
    return torch.stack(list(pictures)).squeeze(2)
