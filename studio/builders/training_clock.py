"""How far a short training has come, by steps or by seconds, and the learning rate that goes with it."""

import math
import time
from dataclasses import dataclass, field


@dataclass
class TrainingClock:
    """Ends after `steps`, or, when `seconds` is given, after so many seconds of training, interruptions not counted.

    With `first` the share and so the rate's fall begin at that step: for going on from a checkpoint with new settings.
    """

    steps: int
    seconds: float = 0.0
    first: int = 0
    step: int = 0
    before: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def elapsed(self) -> float:
        return self.before + time.perf_counter() - self.started

    def share(self) -> float:
        """Done so far, in [0, 1]."""
        if self.seconds:
            return min(1.0, self.elapsed() / self.seconds)
        return min(1.0, max(0, self.step - self.first) / (self.steps - self.first))

    def rate(self, peak: float, warm_up: int = 100) -> float:
        """Linear warm-up over steps, then half a cosine down to nothing."""
        return peak * min(1.0, (self.step + 1) / warm_up) * (0.5 + 0.5 * math.cos(math.pi * self.share()))
