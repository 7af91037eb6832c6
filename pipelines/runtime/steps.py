"""Where a run stands: the scheduler's steps counted as it takes them, and its progress from the level of noise."""

from __future__ import annotations

import functools
import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

from torch import Tensor

from lora_loom.pipelines.plan import StepState

Unit: TypeAlias = Literal["training", "share", "signal"]


class StepClock:
    """Counts the steps of a scheduler while it is installed; a new `set_timesteps` starts a new run.

    Counting what the scheduler does, not what the pipeline's loop says, is right for second-order schedulers (two calls
    per step), for img2img with partial strength, and for pipelines that call the denoiser twice per step for guidance.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.runs: int = 0  # as many as `set_timesteps` has begun
        self._calls: int = 0

    @contextmanager
    def installed(self) -> Generator[None]:
        """Watch the scheduler's `set_timesteps` and `step` until the context ends."""
        own: dict[str, Any] = self.scheduler.__dict__
        set_timesteps, step = self.scheduler.set_timesteps, self.scheduler.step

        @functools.wraps(set_timesteps)  # pipelines look at its signature
        def restarting(*args: Any, **kwargs: Any) -> Any:
            self.runs += 1
            self._calls = 0
            return set_timesteps(*args, **kwargs)

        @functools.wraps(step)
        def counting(*args: Any, **kwargs: Any) -> Any:
            self._calls += 1
            return step(*args, **kwargs)

        own["set_timesteps"], own["step"] = restarting, counting
        try:
            yield
        finally:
            del own["set_timesteps"], own["step"]

    @property
    def step(self) -> int:
        """How often the scheduler has stepped in this run."""
        return self._calls

    def state(self, time: float, sample: Tensor, unit: Unit = "training") -> StepState:
        """The state at a time that the denoiser is told in `unit`."""
        timestep = self.in_training_steps(time, unit)
        order: int = getattr(self.scheduler, "order", 1)
        steps: int | None = getattr(self.scheduler, "num_inference_steps", None)
        return StepState(
            index=self._calls // order,
            num_inference_steps=steps or math.ceil(len(self.scheduler.timesteps) / order),
            progress=1.0 - noise_share(self.scheduler, timestep),
            timestep=timestep,
            sample=sample,
        )

    def in_training_steps(self, time: float, unit: Unit) -> float:
        """The time as the scheduler tells it, from its own number of training steps."""
        if unit == "training":
            return time
        steps: int = self.scheduler.config.num_train_timesteps
        return (time if unit == "share" else 1.0 - time) * steps


def noise_share(scheduler: Any, timestep: float) -> float:
    """s in [0, 1] such that (1 - s) x_0 + s noise has the signal-to-noise ratio of this timestep.

    With sigma the ratio of noise to signal, s = sigma / (1 + sigma). Flow matching has t = s times its training
    timesteps; variance-preserving diffusion has sigma = sqrt((1 - alpha_bar) / alpha_bar), linear in between its
    training timesteps; the schedulers of EDM list sigma itself beside timesteps of another kind.
    """
    config = scheduler.config
    if (config.get("sigma_max") or 0.0) > 1.0:
        nearest = int((scheduler.timesteps.float() - timestep).abs().argmin())
        sigma = float(scheduler.sigmas[nearest])
        return sigma / (1.0 + sigma)
    if not hasattr(scheduler, "alphas_cumprod") or config.get("use_flow_sigmas", False):
        return _unit(timestep / config.num_train_timesteps)
    alphas_cumprod: Tensor = scheduler.alphas_cumprod
    position = min(max(timestep, 0.0), len(alphas_cumprod) - 1.0)
    low = math.floor(position)
    shares = [_share_of_alpha(float(alpha_bar)) for alpha_bar in alphas_cumprod[low : low + 2]]
    return _unit(shares[0] + (shares[-1] - shares[0]) * (position - low))


def _share_of_alpha(alpha_bar: float) -> float:
    signal, noise = math.sqrt(max(alpha_bar, 0.0)), math.sqrt(max(1.0 - alpha_bar, 0.0))
    return noise / (signal + noise)


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)
