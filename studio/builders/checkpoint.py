"""Training state on disk: whole or not at all, with the random state, so that a run resumes where it stopped."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def save(path: Path, step: int, state: Mapping[str, Any]) -> None:
    """Write `state`, `step` and torch's random state to `path` by temporary file and rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save({"step": step, "random": torch.get_rng_state(), **state}, temporary)
    os.replace(temporary, path)


def load(path: Path) -> dict[str, Any] | None:
    """The last saved state with torch's random state restored, or None when there is none."""
    if not path.exists():
        return None
    state = torch.load(path, map_location="cpu", weights_only=True)
    torch.set_rng_state(state["random"])
    return state


class Log:
    """One JSON line per report, appended; seconds accumulate over restarts."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.before, self.started = path, 0.0, time.perf_counter()
        if path.exists() and (lines := path.read_text().splitlines()):
            self.before = float(json.loads(lines[-1])["seconds"])

    def write(self, **values: float | int | str) -> None:
        seconds = round(self.before + time.perf_counter() - self.started, 1)
        line = {**{k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()}, "seconds": seconds}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
