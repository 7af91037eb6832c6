"""What all trainings show on standard error: a progress bar, and how to go on when a person interrupts them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from pathlib import Path

import typer

from lora_loom.pipelines.errors import CancelledError, OutputError
from lora_loom.studio.cli.output import print_error

INTERRUPTED = 130  # what shells expect of a command that Ctrl-C ended


@contextlib.contextmanager
def shown_progress(steps: int, *, as_json: bool) -> Generator[Callable[[int, float], None]]:
    """A progress bar with the time that is left, to be told step and loss; standard output stays free for the result.

    Ctrl-C inside ends the command with a sentence that says how to go on.
    """
    from tqdm import tqdm

    done = 0
    try:
        with tqdm(total=steps, file=sys.stderr, disable=None, unit="step") as bar:

            def show(step: int, loss: float) -> None:
                nonlocal done
                done = step
                bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
                bar.update(step - bar.n)

            with contextlib.redirect_stdout(sys.stderr):  # libraries that print while loading would spoil --json
                yield show
    except KeyboardInterrupt:
        saved = "It is saved; --resume goes on" if done else "Nothing was trained yet"
        stopped = CancelledError(f"the training was stopped after step {done} of {steps}", remedy=saved)
        print_error(stopped, as_json=as_json)
        raise typer.Exit(INTERRUPTED) from None


def check_free(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise OutputError where a result or a stopped run would be lost."""
    stopped = run_folder(out) / "latest.checkpoint"
    if resume or overwrite:
        return
    if out.exists():
        raise OutputError(f"{out} exists", remedy="Choose another name, train it longer with --resume, or --overwrite")
    if stopped.exists():
        raise OutputError(
            f"{stopped} holds a stopped run", remedy="Go on with --resume, or start anew with --overwrite"
        )


def run_folder(out: Path) -> Path:
    """Where the numbers and the checkpoint of a training are that writes `out`."""
    return out.with_suffix(".training")
