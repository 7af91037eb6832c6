"""Objective: what one training learns, its loss on a batch, what it logs and draws, and what it writes.

A training is an Objective in the loop of loop.py; a new kind of training is one file with a subclass. Everything else,
such as learning rates, accumulation, precision, checkpoints and Ctrl-C, is the loop's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from PIL import Image
from torch import Tensor, nn

Batch = TypeVar("Batch")


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters by name, the same names in every run, that learn at one rate; `learning_rate` is the full one."""

    parameters: Mapping[str, nn.Parameter]
    learning_rate: float


@dataclass(frozen=True)
class Passes:
    """The forward passes of one update: it has `of` in all processes together, this process makes those of `own`."""

    step: int  # updates before this one
    own: range
    of: int

    @property
    def numbered(self) -> Iterator[int]:
        """The numbers of the own passes in an endless row over all steps: what a batch's chance is drawn from."""
        return (self.step * self.of + index for index in self.own)


@dataclass(frozen=True)
class Reached:
    """How far a training has come: the updates made, and the mean loss of the last ones that were logged."""

    step: int
    loss: float


class Objective(ABC, Generic[Batch]):
    """What is trained. All its chance must come from the number of the pass, or from torch's global generators.

    The loop keeps parameters, optimiser and torch's generators in its checkpoints, so that a run that is resumed comes
    to the very bits of one that was not stopped; `state` is for what else the next step depends on.
    """

    fingerprint: str = ""  # of the data; a checkpoint of other data is refused

    @abstractmethod
    def groups(self) -> Sequence[ParameterGroup]:
        """What learns, and how fast; the same parameters whenever it is asked."""

    @abstractmethod
    def batches(self, passes: Passes) -> Iterator[Batch]:
        """One batch for each of the own passes of a step, made when it is asked for."""

    @abstractmethod
    def loss(self, batch: Batch) -> Tensor:
        """The mean loss of one pass, a scalar in float32; the loop takes the mean over the passes of a step."""

    def updated(self) -> None:
        """Called after every update: for moving averages, and for values that must stay within limits."""

    def numbers(self, step: int) -> Mapping[str, float | str]:
        """What to log beside loss, learning rate and gradient; may cost something, it is only asked for a line."""
        return {}

    def sample(self) -> Image.Image | None:
        """A picture of how far it is, drawn at the intervals of the settings."""
        return None

    def snapshot_name(self, step: int) -> str | None:
        """The name in the run's folder under which the loop exports at every checkpoint; None for no such files."""
        return None

    @abstractmethod
    def export(self, path: Path, at: Reached) -> None:
        """Write what has been learnt so far, in the form that is used, to `path`."""

    def state(self) -> Mapping[str, Tensor]:
        """What a checkpoint must hold beyond parameters, optimiser and generators, such as a moving average."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up such a state again."""
