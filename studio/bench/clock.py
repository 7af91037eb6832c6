"""Clocks that can be trusted on a busy machine: process CPU time, one thread, arms in turn, ratios of pairs."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

RESAMPLES = 2000
Samples = dict[str, list[float]]


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, from n samples; an exact count is its own interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def exact(cls, value: float) -> Estimate:
        return cls(value, value, value, 1)


@contextmanager
def one_thread() -> Generator[None]:
    """Torch on one thread: with several on a busy machine they spend most of their CPU time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def interleaved(
    arms: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    warmups: int = 2,
    after: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.process_time,
) -> Samples:
    """Seconds of every arm, one call of each per round, in turn: A B C A B C ...

    Whatever slows the machine for a while slows the arms of the same round alike. `after` runs behind every call,
    unclocked. The clock counts CPU seconds of this process, unless another is given, as for an accelerator.
    """
    samples: Samples = {name: [] for name in arms}
    gc.collect()
    gc.disable()
    try:
        for index in range(warmups + rounds):
            for name, arm in arms.items():
                start = clock()
                arm()
                seconds = clock() - start
                if after is not None:
                    after()
                if index >= warmups:
                    samples[name].append(seconds)
            gc.collect(0)
    finally:
        gc.enable()
    return samples


def ratio(samples: Samples, above: str, below: str) -> Estimate:
    """The median of the ratios of the two arms, round by round."""
    return median([a / b for a, b in zip(samples[above], samples[below], strict=True)])


def milliseconds(samples: Sequence[float], calls: int = 1) -> Estimate:
    """The median of samples in seconds that each hold some calls, as milliseconds of one call."""
    return median([1000 * sample / calls for sample in samples])


def median(samples: Sequence[float]) -> Estimate:
    """The median with a bootstrap interval; the same samples give the same interval."""
    values = np.asarray(samples, dtype=float)
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), (2.5, 97.5))
    return Estimate(float(np.median(values)), float(low), float(high), len(values))
