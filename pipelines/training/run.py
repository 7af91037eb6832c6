"""Run: the state of a training between two updates, and the update itself."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.checkpoint import Checkpoint, optimiser_moments, restore_moments
from lora_loom.pipelines.training.loop_settings import LoopSettings
from lora_loom.pipelines.training.machine import average_gradients, mean_over_processes
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached

SMOOTHED = 50  # lines of the log over which the reported final loss is averaged


@dataclass(frozen=True)
class StepNumbers:
    """One line of the log; `loss` is the mean since the line before."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float


class Run:
    """Makes one update at a time of what an objective trains."""

    def __init__(self, objective: Objective[Any], settings: LoopSettings, accelerator: Accelerator) -> None:
        groups = [group for group in objective.groups() if group.parameters]
        self.step = 0
        self.parameters = {name: value for group in groups for name, value in group.parameters.items()}
        self._objective = objective
        self._settings = settings
        self._accelerator = accelerator
        self._losses: deque[float] = deque(maxlen=SMOOTHED)
        self._unread: list[Tensor] = []
        self._grad_norm = torch.zeros(())
        self._adamw = _adamw(groups, settings)
        self._optimiser = cast("torch.optim.Optimizer", accelerator.prepare(self._adamw))  # pyright: ignore[reportUnknownMemberType]
        accelerator.gradient_accumulation_steps = settings.accumulation
        accelerator.step = 0  # another training, stopped within an update, may have left its count of passes

    @property
    def reached(self) -> Reached:
        losses = self._losses
        return Reached(self.step, sum(losses) / len(losses) if losses else float("nan"))

    @property
    def unread(self) -> bool:
        """Whether updates were made since `read`."""
        return bool(self._unread)

    def update(self, done: float, *, read: bool) -> StepNumbers | None:
        """One update; `done` is the share of the run behind. Gives the numbers since the last time if `read`.

        TrainingError where a loss that is read is not finite; then the parameters are as they were.
        """
        settings, accelerator, objective = self._settings, self._accelerator, self._objective
        factor = settings.schedule(self.step, done)
        for group in self._adamw.param_groups:
            group["lr"] = group["initial_lr"] * factor
        of = settings.accumulation * accelerator.num_processes
        passes = Passes(self.step, range(accelerator.process_index, of, accelerator.num_processes), of)
        losses: list[Tensor] = []
        for batch in objective.batches(passes):
            with accelerator.accumulate():  # pyright: ignore[reportUnknownMemberType]
                loss = objective.loss(batch)
                accelerator.backward(loss)  # pyright: ignore[reportUnknownMemberType]
            losses.append(loss.detach() / settings.accumulation)
        parameters = list(self.parameters.values())
        average_gradients(accelerator, parameters)
        limit = settings.max_grad_norm or float("inf")
        self._grad_norm = cast("Tensor", accelerator.clip_grad_norm_(parameters, limit))  # pyright: ignore
        self._unread.append(sum(losses, torch.zeros_like(losses[0])))
        self.step += 1
        numbers = self.read() if read else None
        self._optimiser.step()
        self._optimiser.zero_grad()
        objective.updated()
        return numbers

    def read(self) -> StepNumbers:
        """The numbers of the updates since the last time; TrainingError where their loss is not finite."""
        mean = self._unread[0] if len(self._unread) == 1 else torch.stack(self._unread).mean()
        loss = mean_over_processes(self._accelerator, mean)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is not finite in step {self.step}",
                found=str(loss),
                remedy="lower the learning rate, or train in bf16 or without mixed precision",
            )
        self._unread.clear()
        self._losses.append(loss)
        rate = float(self._adamw.param_groups[0]["lr"])
        return StepNumbers(self.step, loss, rate, float(self._grad_norm))

    def checkpoint(self, seconds: float) -> Checkpoint:
        """Everything the next update depends on."""
        generators = {"cpu": torch.get_rng_state()}
        device: torch.device = self._accelerator.device
        if device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(device)
        scaler = self._scaler
        return Checkpoint(
            step=self.step,
            weights=self.parameters,
            moments=optimiser_moments(self._adamw, self.parameters),
            generators=generators,
            state=self._objective.state(),
            losses=tuple(self._losses),
            scaler=None if scaler is None else scaler.state_dict(),
            settings=self._settings.recorded,
            fingerprint=self._objective.fingerprint,
            seconds=seconds,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where the checkpoint was made."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(checkpoint.weights[name])
        restore_moments(self._adamw, self.parameters, checkpoint.moments)
        self._objective.restore(checkpoint.state)
        torch.set_rng_state(checkpoint.generators["cpu"])
        device: torch.device = self._accelerator.device
        if device.type == "cuda" and "cuda" in checkpoint.generators:
            torch.cuda.set_rng_state(checkpoint.generators["cuda"], device)
        if self._scaler is not None and checkpoint.scaler is not None:
            self._scaler.load_state_dict(dict(checkpoint.scaler))
        self.step = checkpoint.step
        self._losses.extend(checkpoint.losses)

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """Keeps half-precision gradients from vanishing; None in the other number formats."""
        return cast("torch.amp.GradScaler | None", self._accelerator.scaler)  # pyright: ignore[reportUnknownMemberType]


def _adamw(groups: list[ParameterGroup], settings: LoopSettings) -> torch.optim.AdamW:
    kinds = {value.device.type for group in groups for value in group.parameters.values()}
    return torch.optim.AdamW(
        [
            {"params": list(group.parameters.values()), "lr": group.learning_rate, "initial_lr": group.learning_rate}
            for group in groups
        ],
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True if settings.fused and kinds <= {"cpu", "cuda"} else None,
    )
