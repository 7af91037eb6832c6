"""The folder of one run: its settings, one line of numbers per step, sample grids, snapshots and the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.training.checkpoint import (
    Checkpoint,
    Resumable,
    check_settings,
    load_checkpoint,
    save_checkpoint,
)


class RunFolder:
    """Writes what a run leaves behind; `writes` is False in all processes but one."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.checkpoint = path / "latest.checkpoint"
        self.metrics = path / "metrics.jsonl"
        self.writes = writes

    def begin(self, settings: Mapping[str, Any], *, step: int) -> None:
        """Write the settings down and cut the numbers back to `step`, from where the run starts or goes on."""
        if not self.writes:
            return
        write_json(self.path / "settings.json", settings)
        lines = self.metrics.read_text(encoding="utf-8").splitlines() if step and self.metrics.is_file() else []
        kept = [line for line in lines if _step_of(line) <= step]
        with atomic_file(self.metrics) as file:
            file.write("".join(f"{line}\n" for line in kept).encode())

    def log(self, row: Mapping[str, Any]) -> None:
        """One line of numbers, on the disk at once."""
        if self.writes:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def sample(self, step: int, grid: Image.Image) -> None:
        if self.writes:
            write_png(self.path / "samples" / f"step-{step:06d}.png", grid)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        if self.writes:
            save_checkpoint(self.checkpoint, checkpoint)

    def saved(self, settings: Resumable) -> Checkpoint:
        """The run that was stopped here; TrainingError where there is none, or one with other settings."""
        checkpoint = load_checkpoint(self.checkpoint)
        check_settings(checkpoint, settings, self.checkpoint)
        return checkpoint


def _step_of(line: str) -> float:
    """The step of a line; infinite for one that was cut off while it was written, so that it is dropped."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    with atomic_file(path) as file:
        file.write(json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n")


def write_png(path: Path, picture: Image.Image) -> None:
    """Write a PNG whole or not at all."""
    with atomic_file(path) as file:
        picture.save(file, format="PNG")
