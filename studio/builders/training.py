"""Train a builder's objective in the common loop: a run that was stopped goes on by itself, and tells how far it is."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from lora_loom.pipelines.training.loop import Finished, TrainingStep, train
from lora_loom.pipelines.training.loop_settings import LoopSettings, Schedule
from lora_loom.pipelines.training.objective import Objective, ParameterGroup
from lora_loom.pipelines.training.run_folder import RunFolder

FREE = frozenset({"steps", "seconds", "save_every"})  # a run may be made longer, and ended by the clock


def settings_for(
    schedule: Schedule, steps: int, seconds: float | None, recorded: Mapping[str, Any], **how: Any
) -> LoopSettings:
    """The loop of a builder: after `steps`, or by the clock on a machine that is there for a while only."""
    return LoopSettings(
        steps=steps if seconds is None else sys.maxsize,
        seconds=seconds,
        schedule=schedule,
        recorded={**recorded, "steps": steps, "seconds": seconds},
        free=FREE,
        **how,
    )


def built(objective: Objective[Any], settings: LoopSettings, accelerator: Accelerator, folder: Path) -> Finished:
    """Train to the end, from the checkpoint in `folder` if there is one. Every line of the log is printed, too."""
    run = RunFolder(folder, writes=accelerator.is_main_process)
    checkpoint = run.saved(settings) if run.checkpoint.exists() else None

    def show(at: TrainingStep) -> None:
        print(f"step {at.step}: loss {at.loss:.5f}, {at.seconds:.0f} s, {at.eta_seconds:.0f} s left", flush=True)

    return train(objective, settings, accelerator, run, checkpoint=checkpoint, on_step=show)


def write_log(out: Path, *folders: Path) -> None:
    """The lines of these runs, one after the other, as one file to ship."""
    out.write_text("".join(RunFolder(folder).metrics.read_text() for folder in folders))


def learning(module: nn.Module, rate: float) -> ParameterGroup:
    """The parameters of a module that require gradients, at one rate."""
    return ParameterGroup({name: value for name, value in module.named_parameters() if value.requires_grad}, rate)


def buffers(module: nn.Module) -> dict[str, Tensor]:
    """What a module learns without gradients, such as the means of normalisation layers."""
    return dict(module.named_buffers())


def restore_buffers(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in module.named_buffers():
            value.copy_(state[name])
