"""One call of a pipeline to its denoiser, and what it is when several passes answer it as one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from lora_loom.pipelines.plan import Pass
from lora_loom.pipelines.runtime.prompts import PromptEncodings
from lora_loom.pipelines.runtime.targets import DenoiserSlot

TEXT_INPUTS = frozenset({"encoder_hidden_states", "pooled_projections", "text_embeds"})
UNBATCHED_INPUTS = frozenset({"img_ids", "txt_ids"})  # positions of tokens: one list for the whole batch


@dataclass(frozen=True)
class DenoiserCall:
    """The arguments of the call by name. `sample` [b ...] is the noisy input, `timestep` in the scheduler's units."""

    arguments: Mapping[str, Any]
    sample: Tensor
    timestep: float

    @classmethod
    def of(cls, slot: DenoiserSlot, arguments: Mapping[str, Any]) -> DenoiserCall:
        timestep = float(torch.as_tensor(arguments["timestep"]).flatten()[0]) * slot.timestep_scale
        return cls(arguments, arguments[slot.sample], timestep)

    @property
    def batch(self) -> int:
        return len(self.sample)

    def for_passes(self, passes: Sequence[Pass], prompts: PromptEncodings) -> dict[str, Any]:
        """The arguments with passes outermost in the batch: repeated for each, with its own encoding of the prompt."""

        def per_pass(name: str, value: Any) -> Any:
            if isinstance(value, Tensor):
                if value.ndim == 0 or len(value) != self.batch or name in UNBATCHED_INPUTS:
                    return value
                if name in TEXT_INPUTS:
                    rows = [prompts.for_pass(value, each.encoded_with, each.region) for each in passes]
                    return torch.cat(rows) if len(rows) > 1 else rows[0]
                return value.repeat(len(passes), *(1,) * (value.ndim - 1)) if len(passes) > 1 else value
            if isinstance(value, dict):
                return {key: per_pass(key, each) for key, each in cast("dict[str, Any]", value).items()}
            if isinstance(value, list | tuple):
                return [per_pass(name, each) for each in cast("list[Any]", value)]
            return value

        return {name: per_pass(name, value) for name, value in self.arguments.items()}

    def rows(self, kept: slice) -> DenoiserCall:
        """The call for some of its samples only."""

        def cut(name: str, value: Any) -> Any:
            if isinstance(value, Tensor):
                whole = value.ndim == 0 or len(value) != self.batch or name in UNBATCHED_INPUTS
                return value if whole else value[kept]
            if isinstance(value, dict):
                return {key: cut(key, each) for key, each in cast("dict[str, Any]", value).items()}
            if isinstance(value, list | tuple):
                return [cut(name, each) for each in cast("list[Any]", value)]
            return value

        arguments = {name: cut(name, value) for name, value in self.arguments.items()}
        return DenoiserCall(arguments, self.sample[kept], self.timestep)

    def grid(self) -> tuple[int, int] | None:
        """Rows and columns of the picture when the sample comes as tokens, None when it comes as a picture.

        FLUX tells them in the positions of its tokens, `img_ids` [(h w) 3]. Tokens of no rectangle are one row.
        """
        if self.sample.ndim != 3:
            return None
        ids, tokens = self.arguments.get("img_ids"), self.sample.shape[1]
        if isinstance(ids, Tensor):
            rows, columns = (int(each) + 1 for each in ids.reshape(-1, 3)[:, 1:].amax(dim=0))
            if rows * columns == tokens:
                return rows, columns
        return 1, tokens
