"""The progress bar of a training on standard error, and how a training ends that a person interrupts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_loom.pipelines.training.lora import TrainingStep

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended


@contextlib.contextmanager
def shown_progress(steps: int) -> Generator[Callable[[TrainingStep], None]]:
    """A progress bar with the time that is left on standard error; standard output stays free for the result."""
    from tqdm import tqdm

    with tqdm(total=steps, file=sys.stderr, disable=None, unit="step") as bar:

        def show(step: TrainingStep) -> None:
            bar.set_postfix(loss=f"{step.loss:.4f}", refresh=False)
            bar.update(step.step - bar.n)

        with contextlib.redirect_stdout(sys.stderr):  # libraries that print while loading would spoil --json
            yield show
