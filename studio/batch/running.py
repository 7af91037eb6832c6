"""Running a batch with an engine: signals drain it, failed pictures may be tried again, the rows are gathered."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from lora_loom.pipelines.errors import BatchError, RequestError
from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.layouts.layout import shard_rows
from lora_loom.studio.batch.lease import current, forgive_deaths, is_free
from lora_loom.studio.batch.progress import Progress, ProgressReader
from lora_loom.studio.batch.put import sweep
from lora_loom.studio.batch.worker import WorkerOptions

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `signal` is the number of what drained it, 0 if it came to its end."""

    progress: Progress
    signal: int = 0


def run_batch(
    batch: Batch,
    options: WorkerOptions,
    on_progress: Callable[[Progress], None],
    *,
    workers: int = 0,
    engine: str = "local",
) -> Outcome:
    """Draw what is missing of the batch. SIGTERM and SIGINT drain: pictures under way are finished and kept.

    `workers` 0 means one for every accelerator, or for every core but at most 4. Raises LoomError, after which the
    batch can be run again.
    """
    sweep(batch.parts)  # what a run that was killed left half-written
    left = len(batch.shards) - len(batch.sealed_shards())
    with drained_by_signals() as caught:

        def stop() -> bool:
            return bool(caught)

        if engine not in ENGINES:
            raise RequestError(f"there is no engine {engine!r}", expected=" or ".join(ENGINES))
        if not left:
            on_progress(ProgressReader(batch).read())
        elif engine == "local":
            from lora_loom.studio.batch.engines.local import run_local

            run_local(batch, min(workers or _default_workers(), left), options, on_progress, stop)
        else:
            from lora_loom.studio.batch.engines.on_ray import run_on_ray

            run_on_ray(batch, workers, options, on_progress, stop)
    layout_of(batch).finish()
    return Outcome(ProgressReader(batch).read(), caught[0] if caught else 0)


def forget_failures(batch: Batch) -> int:
    """Let pictures that failed be tried again; how many there are. Raises BatchError while workers are at work."""
    if any(not is_free(batch, lease) for lease in current(batch)):
        raise BatchError("failed pictures cannot be tried again while workers are at work", remedy="Wait for their end")
    if batch.info.layout == "webdataset":
        raise BatchError("a sealed tar is final", remedy="Plan the failed prompts as a batch of their own")
    count = 0
    for shard in sorted(batch.sealed_shards()):
        failed = [row["uid"] for row in shard_rows(batch, shard) if "error" in row]
        count += len(failed)
        if failed:
            batch.sealed_shard(shard).unlink()
    if count:
        for record in (batch.work / "failed").glob("*.json"):
            record.unlink()
        forgive_deaths(batch)
    return count


@contextmanager
def drained_by_signals() -> Generator[list[int]]:
    """A list that fills with the signals that came; a second Ctrl-C interrupts. Only the main thread hears signals."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def hear(number: int, frame: object) -> None:
        if caught and number == signal.SIGINT:
            raise KeyboardInterrupt
        caught.append(number)

    former = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _default_workers() -> int:
    import os

    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return torch.cuda.device_count() or min(cores, 4)
