"""A stopped training as one file: parameters, optimiser moments, generator state and how far it came.

The file is in the safetensors format, so that reading one back runs no code, but is called `.checkpoint`: no library
takes it for a LoRA. It replaces its predecessor in one step. accelerate's own `save_state` would do neither: it writes
optimiser, scaler and generators as pickles, into a folder that a crash leaves half old and half new.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import TrainingError

HEADER = "loom_checkpoint"
GROUPS = ("weights", "moments", "generators", "state")


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` updates; `moments` are `<parameter>/<name in the optimiser>`."""

    step: int
    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    generators: Mapping[
        str, Tensor
    ]  # torch's global generator states by device; only dropout inside the base uses them
    state: Mapping[str, Tensor]  # what the objective keeps beyond its parameters
    losses: tuple[float, ...]
    scaler: Mapping[str, Any] | None
    settings: Mapping[str, Any]
    fingerprint: str  # of the data, such as training pictures and captions
    seconds: float = 0.0  # that the steps took, over all interruptions


class Resumable(Protocol):
    """Settings that can tell which of them may change between a stop and a resume."""

    @property
    def steps(self) -> int: ...

    @property
    def free(self) -> frozenset[str]: ...

    def to_dict(self) -> Mapping[str, Any]: ...


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint; OutputError if it could not be written, and then the old one is still there."""
    groups = {name: getattr(checkpoint, name) for name in GROUPS}
    tensors = {
        f"{group}:{name}": value.detach().cpu().contiguous()
        for group, values in groups.items()
        for name, value in values.items()
    }
    header = {
        "step": checkpoint.step,
        "losses": checkpoint.losses,
        "scaler": checkpoint.scaler,
        "settings": checkpoint.settings,
        "fingerprint": checkpoint.fingerprint,
        "seconds": checkpoint.seconds,
    }
    blob = save(tensors, metadata={HEADER: json.dumps(header)})
    with atomic_file(path) as file:
        file.write(blob)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint back; TrainingError where it is missing or damaged."""
    if not path.is_file():
        raise TrainingError(f"there is nothing to resume: {path} does not exist", remedy="start without resuming")
    groups: dict[str, dict[str, Tensor]] = {name: {} for name in GROUPS}
    try:
        with safe_open(path, framework="pt") as file:  # pyright: ignore[reportUnknownVariableType]
            header: dict[str, Any] = json.loads(cast("Any", file).metadata()[HEADER])
            for key in cast("list[str]", cast("Any", file).keys()):
                group, _, name = key.partition(":")
                groups[group][name] = cast("Tensor", cast("Any", file).get_tensor(key))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} is not a checkpoint", found=str(error), remedy="start without resuming") from error
    losses = tuple(float(loss) for loss in header.pop("losses"))
    return Checkpoint(**groups, losses=losses, **header)


def check_settings(checkpoint: Checkpoint, settings: Resumable, path: Path) -> None:
    """TrainingError unless the checkpoint was made with these settings; else the result would not be exact."""
    changed = [
        f"{name}: {checkpoint.settings.get(name)} then, {value} now"
        for name, value in settings.to_dict().items()
        if name not in settings.free and checkpoint.settings.get(name) != value
    ]
    if changed:
        raise TrainingError(
            f"{path} was made with other settings",
            found="; ".join(changed),
            remedy="use the same settings or start anew",
        )
    if checkpoint.step > settings.steps:
        raise TrainingError(
            f"{path} is already past the end", expected=f"at most {settings.steps} steps", found=str(checkpoint.step)
        )


def check_data(checkpoint: Checkpoint, fingerprint: str, path: Path) -> None:
    """TrainingError unless the checkpoint was made with this data, such as these pictures in this order."""
    if checkpoint.fingerprint != fingerprint:
        raise TrainingError(
            f"{path} was made with other data, such as other pictures or captions",
            remedy="use the same or start anew",
        )


def optimiser_moments(optimiser: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimiser's state as flat tensors, named after the parameters."""
    states = cast("Mapping[Tensor, Mapping[str, Tensor]]", optimiser.state)
    return {f"{name}/{key}": value for name, owner in parameters.items() for key, value in states[owner].items()}


def restore_moments(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, Tensor], moments: Mapping[str, Tensor]
) -> None:
    """Put the optimiser's state back on each parameter's device, step counts included, as fused AdamW wants them."""
    states = cast("dict[Tensor, dict[str, Tensor]]", optimiser.state)
    for key, value in moments.items():
        name, _, part = key.rpartition("/")
        states[parameters[name]][part] = value.to(parameters[name].device)
