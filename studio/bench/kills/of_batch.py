"""SIGKILL to the workers of a batch while they draw: what becomes of its pictures."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lora_loom.studio.batch.audit import audit
from lora_loom.studio.batch.engines.local import run_local
from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.layouts.layout import sealed_rows
from lora_loom.studio.batch.lease import current
from lora_loom.studio.batch.plan import plan_batch
from lora_loom.studio.batch.suite import read_suite
from lora_loom.studio.batch.worker import WORKER_DIED, WorkerOptions
from lora_loom.studio.liveness import is_gone
from lora_loom.studio.results import Row

LONGEST_WAIT = 0.5  # seconds between two looks at who draws


def measure(
    folder: Path,
    *,
    kills: int,
    pictures: int,
    base: str = "pocket",
    steps: int = 2,
    workers: int = 2,
    seed: int = 0,
    on_kill: Callable[[int], None] = lambda n: None,
) -> Row:
    """Plan a batch in `folder`, draw it while `kills` workers are killed, and count what came of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "suite.toml"
    path.write_text(
        f'base_model = "{base}"\nprompts = ["a red circle", "a blue star"]\nsamples = {(pictures + 1) // 2}\n'
        f"batch_size = 1\n[request]\nnum_inference_steps = {steps}\n",
        encoding="utf-8",
    )
    batch = plan_batch(read_suite(path), folder / "batch", [])
    ended, done = threading.Event(), [0]

    def kill() -> None:
        rng = random.Random(seed)
        while done[0] < kills and not ended.wait(rng.uniform(0.05, LONGEST_WAIT)):
            if _kill_one(batch, rng):
                done[0] += 1
                on_kill(done[0])

    killer = threading.Thread(target=kill, name="killer", daemon=True)
    killer.start()
    try:
        run_local(batch, workers, WorkerOptions(device="cpu"), lambda progress: None, lambda: False)
    finally:
        ended.set()
        killer.join()
    layout_of(batch).finish()
    return _counted(batch, done[0])


def _kill_one(batch: Batch, rng: random.Random) -> bool:
    drawing = [
        lease for lease in current(batch) if lease.drawing and not lease.ended and is_gone(lease.process) is False
    ]
    if not drawing:
        return False
    with suppress(ProcessLookupError):
        os.kill(rng.choice(drawing).process.pid, signal.SIGKILL)
        return True
    return False


def _counted(batch: Batch, kills: int) -> Row:
    rows = list(sealed_rows(batch))
    errors = [row["error"]["type"] for row in rows if "error" in row]
    given_up = sum(error == WORKER_DIED for error in errors)
    names = Counter(row["uid"] for row in rows)
    twice = sum(count > 1 for count in names.values()) + len(list(layout_of(batch).stray()))
    parts = len(list(batch.folder.rglob("*.part")))
    lost = len(batch.pictures) - len(names)
    row: Row = {"what": "workers of one batch run, killed while they draw", "kills": kills}
    row |= {"accepted": len(batch.pictures), "drawn": len(names) - len(errors), "failed": len(errors) - given_up}
    row |= {"given_up": given_up, "lost": lost, "twice": twice, "half_written": parts}
    return row | {"holds": not (errors or lost or twice or parts) and audit(batch).passed}
