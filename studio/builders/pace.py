"""How long a training runs and how fast it learns: by a number of steps, or by the clock on a lent machine."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Pace:
    """Steps with their share of the peak learning rate: warm, then constant, then a linear fall to 2 %.

    The fall takes the last `falling` share of the run. With `seconds` the run ends by the clock, and the fall follows
    it; `count` is then ignored. `last` is how many steps there have been.
    """

    count: int
    seconds: float | None = None
    warm_up: int = 300
    falling: float = 0.25
    last: int = field(default=0, init=False)

    def steps(self, first: int = 0) -> Iterator[tuple[int, float]]:
        """(step, share of the peak rate) from step `first` to the end of the run."""
        started, step = time.perf_counter(), first
        self.last = step
        while True:
            done = step / self.count if self.seconds is None else (time.perf_counter() - started) / self.seconds
            if done >= 1:
                return
            yield step, self.rate(step, done)
            step += 1
            self.last = step

    def rate(self, step: int, done: float) -> float:
        """Share of the peak rate at a step, with `done` in [0, 1] of the run behind."""
        return min(1.0, (step + 1) / self.warm_up) * max(0.02, min(1.0, (1 - done) / self.falling))
