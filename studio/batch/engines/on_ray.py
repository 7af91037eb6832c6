"""Workers as actors of a Ray cluster: Ray Data hands out the shards and replaces actors and nodes that die.

The folder of the batch has to be on a file system that all nodes see. Ray sees to it that every shard comes to some
worker; that it is drawn once, whoever comes, the leases see to.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_loom.pipelines import errors
from lora_loom.pipelines.errors import BatchError, LoomError
from lora_loom.studio.batch.drawing import device_is_broken
from lora_loom.studio.batch.folder import Batch, open_batch
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.progress import Progress, ProgressReader
from lora_loom.studio.batch.worker import POLL_SECONDS, Worker, WorkerOptions, open_studio

TICK_SECONDS = 1.0


def run_on_ray(
    batch: Batch,
    workers: int,
    options: WorkerOptions,
    on_progress: Callable[[Progress], None],
    stop: Callable[[], bool],
) -> None:
    """Draw the batch on the cluster that `ray start --head` began or RAY_ADDRESS names, else on this machine alone.

    Every worker takes one GPU, or one CPU where there is none; 0 workers means as many as there are. Returns when the
    batch is done, or drained after `stop`. Raises the LoomError that a worker met, and BatchError if Ray gives up.
    """
    shards = sorted(set(batch.shards) - batch.sealed_shards())
    reader = ProgressReader(batch)
    if not shards:
        on_progress(reader.read())
        return
    with _Cluster(), _StopFile(batch) as stop_file:
        consumer = _Consumer(batch, shards, workers, options, stop_file)
        consumer.start()
        while consumer.is_alive():
            consumer.join(TICK_SECONDS)
            on_progress(reader.read())
            if stop() or consumer.error is not None:
                stop_file.touch()
    on_progress(reader.read())
    layout_of(batch).finish()
    if consumer.error is not None:
        raise consumer.error


class ShardDrawer:
    """What an actor does with each shard that Ray Data gives it: draw it, or wait until somebody else has."""

    def __init__(self, folder: str, options: WorkerOptions, stop_file: str) -> None:
        import torch

        from lora_loom.studio.batch.engines.process import quiet

        quiet()
        torch.set_num_threads(1)
        batch = open_batch(Path(folder))
        self._batch, self._stop_file = batch, Path(stop_file)
        self._error: LoomError | None = None
        try:
            studio = open_studio(batch, options)
            _ = studio.pipeline
            self._worker = Worker(batch, studio, options, self._stop_file.exists).__enter__()
        except LoomError as error:
            self._error = error

    def __call__(self, rows: Mapping[str, Any]) -> dict[str, list[Any]]:
        told = [self._draw(int(shard)) for shard in rows["shard"]]
        return {"shard": list(rows["shard"]), "error": told}

    def _draw(self, shard: int) -> str:
        """Draw the shard; empty, or the error as JSON. A device that is lost ends the process: Ray starts another."""
        if self._error is not None:
            return json.dumps(self._error.to_dict())
        try:
            while not self._batch.is_sealed(shard) and not self._stop_file.exists():
                if not self._worker.work_on(shard):
                    time.sleep(POLL_SECONDS)
        except LoomError as error:
            return json.dumps(error.to_dict())
        except Exception as error:
            if device_is_broken(error):
                traceback.print_exc()
                os._exit(1)
            raise
        return ""


class _Consumer(threading.Thread):
    """Pulls the shards through the actors; Ray Data works only as fast as somebody asks for its rows."""

    def __init__(self, batch: Batch, shards: list[int], workers: int, options: WorkerOptions, stop_file: Path) -> None:
        super().__init__(name="ray", daemon=True)
        self._batch, self._shards, self._workers = batch, shards, workers
        self._options, self._stop_file = options, stop_file
        self.error: LoomError | None = None

    def run(self) -> None:
        import ray.data  # pyright: ignore[reportMissingImports]

        try:
            context = ray.data.DataContext.get_current()
            context.enable_progress_bars = False
            needs, count = _resources(self._workers)
            device = self._options.device or ("cuda" if "num_gpus" in needs else "cpu")
            options = replace(self._options, device=device)
            drawn = ray.data.from_items(
                [{"shard": shard} for shard in self._shards], override_num_blocks=len(self._shards)
            ).map_batches(
                ShardDrawer,
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(count, len(self._shards))),
                fn_constructor_args=(str(self._batch.folder.resolve()), options, str(self._stop_file)),
                **needs,
            )
            for row in drawn.iter_rows():
                if row["error"] and self.error is None:
                    self.error = _rebuilt(json.loads(row["error"]))
        except Exception as error:  # whatever Ray wraps it in
            text = str(error).strip().splitlines()
            self.error = BatchError(
                "Ray could not finish the batch",
                found=f"{type(error).__name__}: {text[-1] if text else ''}"[:500],
                remedy="Run it again: what is done stays done; Ray's own logs are in its session folder",
            )


class _Cluster:
    """Ray, connected to or started; what was connected before stays so, what we started is stopped."""

    def __enter__(self) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise BatchError(
                "Ray is not installed here", remedy="pip install 'lora-loom[cluster]', or use --engine local"
            ) from error
        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
            settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
            try:
                ray.init(address="auto", **settings)
            except ConnectionError:
                ray.init(include_dashboard=False, **settings)
            if threading.current_thread() is threading.main_thread():
                for number, handler in handlers.items():  # Ray would end the driver at once; ours let it drain
                    signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._ray.shutdown()


class _StopFile:
    """A file that tells all actors to finish what they began, on the file system that they share."""

    def __init__(self, batch: Batch) -> None:
        self._path = batch.work.resolve() / f"stop.{secrets.token_hex(4)}"

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)


def _resources(workers: int) -> tuple[dict[str, Any], int]:
    """What one worker takes of the cluster, and how many there are to be."""
    import ray  # pyright: ignore[reportMissingImports]

    there = ray.cluster_resources()
    kind = "GPU" if there.get("GPU", 0) >= 1 else "CPU"
    most = max(int(there.get(kind, 1)), 1)
    needs = {"num_gpus": 1.0, "num_cpus": 0.0} if kind == "GPU" else {"num_cpus": 1.0}
    return needs, min(workers or most, most)


def _rebuilt(parts: Mapping[str, str]) -> LoomError:
    kind = getattr(errors, parts["type"], BatchError)
    return kind(parts["what"], **{name: parts.get(name, "") for name in ("expected", "found", "remedy")})
