"""The folder of one run: its settings, one line of numbers per step, sample grids, snapshots and the checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.training.checkpoint import Checkpoint, save_checkpoint
from lora_loom.pipelines.training.product import LoraProduct, LoraWriter, write_json, write_png


class RunFolder:
    """Writes what a run leaves behind; `writes` is False in all processes but one."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.checkpoint = path / "latest.checkpoint"
        self._metrics = path / "metrics.jsonl"
        self._writes = writes

    def begin(self, settings: Mapping[str, Any], *, step: int) -> None:
        """Write the settings down and cut the numbers back to `step`, from where the run starts or goes on."""
        if not self._writes:
            return
        write_json(self.path / "settings.json", settings)
        lines = self._metrics.read_text(encoding="utf-8").splitlines() if step and self._metrics.is_file() else []
        kept = [line for line in lines if _step_of(line) <= step]
        with atomic_file(self._metrics) as file:
            file.write("".join(f"{line}\n" for line in kept).encode())

    def log(self, row: Mapping[str, Any]) -> None:
        """One line of numbers, on the disk at once."""
        if self._writes:
            with self._metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def sample(self, step: int, grid: Image.Image) -> None:
        if self._writes:
            write_png(self.path / "samples" / f"step-{step:06d}.png", grid)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        if self._writes:
            save_checkpoint(self.checkpoint, checkpoint)

    def snapshot(self, step: int, writer: LoraWriter, product: LoraProduct) -> None:
        """Write the LoRA as it stands, as a file of its own."""
        if self._writes:
            writer.write(product, self.path / f"{writer.name}-{step:06d}.safetensors")


def _step_of(line: str) -> float:
    """The step of a line; infinite for one that was cut off while it was written, so that it is dropped."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
