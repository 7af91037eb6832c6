"""train: the one loop of all trainings, which can stop after any step and go on to the very bits it would have reached.

It knows nothing of what is trained; that is an Objective's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]

from lora_loom.pipelines.errors import CancelledError
from lora_loom.pipelines.training.checkpoint import Checkpoint, check_data
from lora_loom.pipelines.training.loop_settings import LoopSettings
from lora_loom.pipelines.training.machine import agreed, interrupt_noted, mean_over_processes
from lora_loom.pipelines.training.objective import Objective, Reached
from lora_loom.pipelines.training.run import Run, StepNumbers
from lora_loom.pipelines.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainingStep:
    """Progress after one step; `seconds` count from the first step of this call, `eta_seconds` from now to the last."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    seconds: float
    eta_seconds: float


@dataclass(frozen=True)
class Finished:
    """The end of a training: where it is, where this call took it up, and the time of this call's steps."""

    reached: Reached
    resumed_at: int
    seconds: float


def train(
    objective: Objective[Any],
    settings: LoopSettings,
    accelerator: Accelerator,
    folder: RunFolder | None = None,
    *,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[TrainingStep], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Finished:
    """Train the objective from the beginning, or from `checkpoint`, to the end that the settings set.

    What is due between two steps goes to `folder`; without one, nothing is written. `on_step` hears every line of the
    log. `cancelled` is asked after every step; when it says so, the run is saved and CancelledError raised. Ctrl-C in
    the main thread saves and raises KeyboardInterrupt. Raises TrainingError where the loss is not finite, or where the
    checkpoint was made with other data.
    """
    run = Run(objective, settings, accelerator)
    if checkpoint is not None:
        if folder is not None:
            check_data(checkpoint, objective.fingerprint, folder.checkpoint)
        run.restore(checkpoint)
    first, saved, begin = run.step, run.step if checkpoint is not None else -1, time.perf_counter()
    before = checkpoint.seconds if checkpoint is not None else 0.0

    def behind() -> float:
        """Share of the run, the same in all processes."""
        if settings.seconds is None:
            return settings.done(run.step, 0.0)
        seconds = torch.tensor(before + time.perf_counter() - begin, dtype=torch.float64)
        return settings.done(run.step, mean_over_processes(accelerator, seconds))

    def log(numbers: StepNumbers) -> None:
        seconds = time.perf_counter() - begin
        if folder is not None and folder.writes:
            row = {**asdict(numbers), **objective.numbers(numbers.step)}
            folder.log({**row, "seconds": round(before + seconds, 3)})
        if on_step is not None and accelerator.is_main_process:
            on_step(_progress(numbers, settings, seconds, before, steps_done=numbers.step - first))

    def save() -> None:
        nonlocal saved
        if run.unread:
            log(run.read())  # nothing that is not finite may replace a checkpoint
        if folder is not None and saved != run.step:
            folder.save(run.checkpoint(before + time.perf_counter() - begin))
        saved = run.step

    if folder is not None:
        folder.begin(settings.recorded, step=first)
        if settings.sample_every and first == 0:
            _sample(objective, folder, 0)
    with interrupt_noted() as interrupted:
        while (done := behind()) < 1.0:
            numbers = run.update(done, read=_due(run.step + 1, settings.log_every) or run.step + 1 == settings.steps)
            if numbers is not None:
                log(numbers)
            if folder is not None and _due(run.step, settings.sample_every):
                _sample(objective, folder, run.step)
            if folder is not None and _due(run.step, settings.save_every):
                save()
                _snapshot(objective, folder, run.reached)
            if agreed(accelerator, interrupted()):
                save()
                raise KeyboardInterrupt
            if behind() < 1.0 and agreed(accelerator, cancelled is not None and cancelled()):
                save()
                of = f" of {settings.steps}" if settings.seconds is None else ""
                remedy = "It is saved; resume it to go on" if folder is not None else ""
                raise CancelledError(f"the training was stopped after step {run.step}{of}", remedy=remedy)
    save()
    return Finished(run.reached, first, time.perf_counter() - begin)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _sample(objective: Objective[Any], folder: RunFolder, step: int) -> None:
    picture = objective.sample()  # in all processes, so that they stay together
    if picture is not None:
        folder.sample(step, picture)


def _snapshot(objective: Objective[Any], folder: RunFolder, reached: Reached) -> None:
    name = objective.snapshot_name(reached.step)
    if name is not None and folder.writes:
        objective.export(folder.path / name, reached)


def _progress(
    numbers: StepNumbers, settings: LoopSettings, seconds: float, before: float, *, steps_done: int
) -> TrainingStep:
    if settings.seconds is None:
        left = seconds / steps_done * (settings.steps - numbers.step)
    else:
        left = max(0.0, settings.seconds - before - seconds)
    return TrainingStep(
        step=numbers.step,
        steps=settings.steps,
        loss=numbers.loss,
        learning_rate=numbers.learning_rate,
        grad_norm=numbers.grad_norm,
        seconds=seconds,
        eta_seconds=left,
    )
