"""Workers as processes of this machine: who dies is replaced, and a signal lets all finish what they began."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import BatchError, LoomError
from lora_loom.studio.batch.folder import Batch, open_batch
from lora_loom.studio.batch.lease import current
from lora_loom.studio.batch.progress import Progress, ProgressReader
from lora_loom.studio.batch.worker import WorkerOptions
from lora_loom.studio.liveness import this_process

TICK_SECONDS = 0.5
FRUITLESS_DEATHS = 10  # of workers that drew nothing, and 4 more of each, with no picture done: the run gives up


def run_local(
    batch: Batch,
    workers: int,
    options: WorkerOptions,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> None:
    """Draw the batch with so many processes. Returns when it is done, or drained after `stop`.

    Raises the LoomError that ended a worker, and BatchError when workers keep dying before they draw anything.
    """
    _Run(batch, workers, options, on_progress, stop).run()


class _Run:
    def __init__(
        self,
        batch: Batch,
        workers: int,
        options: WorkerOptions,
        on_progress: Callable[[Progress], None],
        stop: Callable[[], bool],
    ) -> None:
        self._batch, self._count, self._options = batch, workers, options
        self._on_progress, self._stop = on_progress, stop
        self._reader = ProgressReader(batch)
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}
        self._draining = False
        self._error: LoomError | None = None
        self._done = -1
        self._deaths = 0  # of workers that were not drawing, since a picture was done last

    def run(self) -> None:
        context = _context()
        for index in range(self._count):
            self._start(context, index)
        try:
            while self._workers:
                wait([process.sentinel for process, _ in self._workers.values()], timeout=TICK_SECONDS)
                self._tick()
                for index, (process, pipe) in list(self._workers.items()):
                    if not process.is_alive():
                        del self._workers[index]
                        self._ended(context, index, process, pipe)
        finally:
            for process, _ in self._workers.values():
                process.kill()
            for process, _ in self._workers.values():
                process.join()
        self._on_progress(self._reader.read())
        if self._error is not None:
            raise self._error

    def _start(self, context: Any, index: int) -> None:
        ours, theirs = context.Pipe()
        options = replace(self._options, device=_device(self._options, index))
        process = context.Process(target=_work, args=(str(self._batch.folder), options, theirs), daemon=True)
        process.start()
        theirs.close()
        self._workers[index] = process, ours

    def _tick(self) -> None:
        progress = self._reader.read()
        if progress.done != self._done:
            self._done, self._deaths = progress.done, 0
        self._on_progress(progress)
        if self._stop():
            self._drain()

    def _drain(self) -> None:
        if not self._draining:
            self._draining = True
            for process, _ in self._workers.values():
                process.terminate()  # SIGTERM: finish what was begun

    def _ended(self, context: Any, index: int, process: BaseProcess, pipe: Connection) -> None:
        process.join()
        with pipe:
            error = _last_word(pipe)
        if error is not None:
            self._error = self._error or error
            self._drain()
        elif process.exitcode != 0 and not self._draining:
            # A death over a picture is counted for that picture, which is given up if it is to blame (batch.deaths);
            # however many kills come from outside, the run goes on until every picture is settled.
            self._deaths += not _was_drawing(self._batch, process)
            if self._deaths > FRUITLESS_DEATHS + 4 * self._count:
                self._error = BatchError(
                    f"the workers die and get nothing done: {self._deaths} in a row",
                    found=f"exit code {process.exitcode} of the last",
                    remedy="Look at what they wrote above; fewer workers need less memory (--workers)",
                )
                self._drain()
            else:
                self._start(context, index)


def _was_drawing(batch: Batch, process: BaseProcess) -> bool:
    host = this_process().host
    return any(
        lease.drawing and not lease.ended and (lease.process.host, lease.process.pid) == (host, process.pid)
        for lease in current(batch)
    )


def _work(folder: str, options: WorkerOptions, pipe: Connection) -> None:
    """A worker process: it ends when all is done, on SIGTERM, or when the process that started it is gone."""
    from lora_loom.studio.batch.engines.process import work_until

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started us, which tells us

    def orphaned() -> None:
        try:
            pipe.recv()
        except (EOFError, OSError):
            stop.set()

    threading.Thread(target=orphaned, name="orphaned", daemon=True).start()
    try:
        work_until(open_batch(Path(folder)), options, stop.is_set)
    except LoomError as error:
        pipe.send(error)
        sys.exit(1)


def _last_word(pipe: Connection) -> LoomError | None:
    try:
        return pipe.recv() if pipe.poll() else None
    except (EOFError, OSError):
        return None


def _context() -> Any:
    """Fresh interpreters; where the system can, forked from one that has imported what they need and done nothing."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lora_loom.studio.batch.engines.imports"])
    return context


def _device(options: WorkerOptions, index: int) -> str:
    """The accelerators in turn, unless a device was asked for."""
    if options.device:
        return options.device
    import torch

    return f"cuda:{index % torch.cuda.device_count()}" if torch.cuda.is_available() else "cpu"
