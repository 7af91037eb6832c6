"""The machine a training runs on: accelerate's processes and number format, and a Ctrl-C that waits for the step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Literal

import torch
from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from accelerate.state import AcceleratorState, is_initialized  # pyright: ignore[reportMissingTypeStubs]
from torch import nn

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.training.settings import Precision


@contextmanager
def accelerator_for(mixed_precision: Precision, device: Literal["auto", "cpu"]) -> Generator[Accelerator]:
    """An Accelerator for this number format; "auto" takes a GPU if there is one.

    accelerate keeps its state for the whole process; unless somebody else made it, it is dropped afterwards, so that
    the next training may use another device or number format. SettingError where somebody else's does not fit.
    """
    shared = is_initialized()
    try:
        yield _accelerator(mixed_precision, device)
    finally:
        if not shared and AcceleratorState().num_processes == 1:
            AcceleratorState._reset_state(reset_partial_state=True)  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType]


def _accelerator(mixed_precision: Precision, device: str) -> Accelerator:
    try:
        return Accelerator(mixed_precision=mixed_precision, cpu=device == "cpu")
    except ValueError as error:
        raise SettingError(
            f"mixed_precision {mixed_precision} cannot be had here",
            found=str(error),
            remedy="choose another, or start a fresh process if this one has trained with another before",
        ) from error


@contextmanager
def seeded(seed: int, device: torch.device) -> Generator[None]:
    """torch's global generators seeded inside, and as they were outside."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):  # pyright: ignore[reportUnknownMemberType]
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
        yield


@contextmanager
def interrupt_noted() -> Generator[Callable[[], bool]]:
    """Ctrl-C is noted instead of raised, so that a step is never cut in half; a second one is raised at once.

    Yields a function that says whether it came. Does nothing outside the main thread, where Python raises no Ctrl-C.
    """
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield lambda: False
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if came:
            previous(number, frame)
        came.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, previous)


def average_gradients(accelerator: Accelerator, parameters: Sequence[nn.Parameter]) -> None:
    """Mean of the gradients over all processes in one exchange, as one vector."""
    if accelerator.num_processes == 1:
        return
    gradients = [value.grad for value in parameters if value.grad is not None]
    own = torch.cat([it.flatten() for it in gradients]).to(accelerator.device)  # where processes can meet
    mean: torch.Tensor = accelerator.reduce(own, reduction="mean")  # pyright: ignore
    for gradient, part in zip(gradients, torch.split(mean, [it.numel() for it in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def mean_over_processes(accelerator: Accelerator, value: torch.Tensor) -> float:
    """Mean of a scalar over all processes."""
    if accelerator.num_processes == 1:
        return float(value)
    return float(accelerator.reduce(value.to(accelerator.device), reduction="mean"))  # pyright: ignore


def agreed(accelerator: Accelerator, claim: bool) -> bool:
    """True in every process if it is in any: processes stop together or not at all."""
    if accelerator.num_processes == 1:
        return claim
    votes: torch.Tensor = accelerator.reduce(torch.tensor(float(claim), device=accelerator.device), reduction="sum")  # pyright: ignore
    return float(votes) > 0
