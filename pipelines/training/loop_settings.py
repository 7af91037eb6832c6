"""LoopSettings: how long a training runs, how fast it learns, and what is written on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Share of the full learning rate at update `step` = 0, 1 ..., with `done` in [0, 1] of the run behind.
Schedule = Callable[[int, float], float]


@dataclass(frozen=True)
class LoopSettings:
    """`recorded` is what the run writes down of itself; a run is only resumed under the same, `free` apart."""

    steps: int
    schedule: Schedule
    seconds: float | None = None  # of training, interruptions not counted; ends the run instead of `steps`
    accumulation: int = 1
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0  # of AdamW; without any it is Adam
    fused: bool = False  # one kernel for all parameters, where the device has it; rounds in another way
    max_grad_norm: float = 0.0  # longer gradients are shortened to it; 0 leaves them alone
    log_every: int = 1  # the loss stays on the device until then, so that small steps need not wait for it
    save_every: int = 0  # 0 saves at the end or when stopped
    sample_every: int = 0
    recorded: Mapping[str, Any] = field(default_factory=dict[str, Any])
    free: frozenset[str] = frozenset()

    def to_dict(self) -> Mapping[str, Any]:
        """What is written down of the run."""
        return self.recorded

    def done(self, step: int, seconds: float) -> float:
        """Share of the run that is behind after `step` updates and so many seconds."""
        if self.seconds is not None:
            return min(1.0, seconds / self.seconds)
        return min(1.0, step / self.steps) if self.steps else 1.0


def cosine(warm_up: int = 0, begun: float = 0.0) -> Schedule:
    """Linear warm-up over steps, times half a cosine down to nothing over the run from `begun` of it on."""

    def rate(step: int, done: float) -> float:
        since = max(0.0, (done - begun) / (1.0 - begun))
        return min(1.0, (step + 1) / max(1, warm_up)) * (0.5 + 0.5 * math.cos(math.pi * since))

    return rate


def plateau(warm_up: int, falling: float) -> Schedule:
    """Linear warm-up over steps, then constant, then over the last `falling` share of the run linearly down to 2 %."""

    def rate(step: int, done: float) -> float:
        return min(1.0, (step + 1) / warm_up) * max(0.02, min(1.0, (1 - done) / falling))

    return rate
