"""StepState: where a run stands, as methods and layer rules see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StepState:
    """Where a run stands when the scheduler asks for a prediction.

    `index` counts the scheduler's steps that this run takes, from 0; both calls of a second-order step share one index.
    `num_inference_steps` is what the run was asked for; img2img with partial strength takes only the last of them.
    `progress` in [0, 1] is 1 - s, with s the share of noise in (1 - s) x_0 + s noise at the same signal-to-noise ratio.
    `timestep` and `sample` [b ...] are as the denoiser receives them: under guidance the sample holds both halves.
    """

    index: int
    num_inference_steps: int
    progress: float
    timestep: float
    sample: Tensor
