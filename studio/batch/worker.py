"""The worker: claims shards, draws what is missing of them, and seals them, until nothing is left to claim.

Any number of workers may work in one folder, started by whatever: the engines here, Slurm, a second shell.
"""

from __future__ import annotations

import itertools
import json
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_loom.studio.batch.deaths import Uids, are_to_blame, is_drawn
from lora_loom.studio.batch.drawing import STOPPING, Drawer, Drawn, Failure
from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.lease import Heartbeat, Lease, claim
from lora_loom.studio.batch.picture import Picture
from lora_loom.studio.batch.put import put_new
from lora_loom.studio.batch.rows import measured, write_picture
from lora_loom.studio.batch.shards import batches
from lora_loom.studio.liveness import this_process

if TYPE_CHECKING:
    from lora_loom.studio.session import Studio

POLL_SECONDS, MAX_POLL_SECONDS = 1.0, 10.0  # between looks at shards that others hold
BATCH_ON_ACCELERATOR = 8
WORKER_DIED = "WorkerDied"  # the type of the error of a picture that was given up


@dataclass(frozen=True)
class WorkerOptions:
    """How a worker draws; `device` empty and `batch_size` 0 leave it to Loom. `library` are more folders of LoRAs."""

    device: str = ""
    batch_size: int = 0
    attention: str = "default"
    library: tuple[str, ...] = ()


def open_studio(batch: Batch, options: WorkerOptions) -> Studio:
    """The studio that draws the batch: its base model, and the LoRAs of the plan's folders that are still there."""
    from pathlib import Path

    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.session import Studio, library_roots

    planned = [Path(folder) for folder in batch.info.library]
    roots = [*library_roots(options.library), *(folder for folder in planned if folder.is_dir())]
    library = AdapterLibrary(list(dict.fromkeys(root.resolve() for root in roots)))
    device = options.device or None
    return Studio(batch.info.base_model, library, batch.folder, device=device, attention=options.attention)


class Worker:
    """Draws shards of a batch. `stop` is asked before every batch: true drains, what was begun is finished and kept."""

    def __init__(self, batch: Batch, studio: Studio, options: WorkerOptions, stop: Callable[[], bool]) -> None:
        self._batch, self._studio, self._options, self._stop = batch, studio, options, stop
        self._layout = layout_of(batch)
        self._drawer = Drawer(studio)
        self._heartbeat = Heartbeat()
        self._place = zlib.crc32(str(this_process()).encode()) % len(batch.shards)  # each worker its own beginning
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")

    def __enter__(self) -> Worker:
        self._heartbeat.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._heartbeat.stop()
        self._writer.shutdown()

    def run(self) -> None:
        """Work until every shard is sealed, or `stop` says so. Raises the errors of drawing.STOPPING."""
        pause = POLL_SECONDS
        while not self._stop():
            left = self._unsealed()
            if not left:
                self._layout.finish()
                return
            _ = self._studio.pipeline  # loaded before a shard is claimed: a base that kills workers is no shard's fault
            drawn = next((shard for shard in left if self.work_on(shard)), None)
            if drawn is None:
                self._wait(pause)
                pause = min(2 * pause, MAX_POLL_SECONDS)
            else:
                self._place, pause = drawn + 1, POLL_SECONDS

    def work_on(self, shard: int) -> bool:
        """Draw and seal one shard, if it can be had; whether there was something to do."""
        if self._stop() or (lease := claim(self._batch, shard)) is None:
            return False
        self._heartbeat.lease = lease
        try:
            self._draw_missing(lease)
        except BaseException as error:
            if isinstance(error, (*STOPPING, KeyboardInterrupt)):
                lease.release()  # otherwise the pictures under way may be to blame, and the lease says which
            raise
        finally:
            self._heartbeat.lease = None
        return True

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self._stop():
            time.sleep(0.2)

    def _unsealed(self) -> list[int]:
        """Shards to try, from this worker's place on: neighbours share LoRAs, and workers rarely meet."""
        left = sorted(set(self._batch.shards) - self._batch.sealed_shards())
        return [shard for shard in left if shard >= self._place] + [shard for shard in left if shard < self._place]

    def _draw_missing(self, lease: Lease) -> None:
        started, done = time.monotonic(), 0
        writing: Future[None] | None = None
        for batch in self._batches(lease):
            missing = {picture.uid for picture in batch if not self._layout.is_done(picture.uid)}
            if not missing:
                continue
            if self._stop() or lease.fenced:
                break
            lease.note(drawing=_uids(batch), done=done, seconds=time.monotonic() - started)
            results = self._results(lease, batch)
            if writing is not None:
                writing.result()
            kept = [(p, result) for p, result in zip(batch, results, strict=True) if p.uid in missing]
            writing = self._writer.submit(self._keep, lease, kept)
            done += len(missing)
        if writing is not None:
            writing.result()
        if all(self._layout.is_done(picture.uid) for picture in self._batch.shards[lease.shard]):
            self._layout.seal(lease.shard)
        lease.release()

    def _batches(self, lease: Lease) -> Iterator[list[Picture]]:
        """The batches of the shard, those over which workers died last; one that is to blame comes one by one."""
        size = self._options.batch_size or self._batch.info.batch_size or self._default_batch_size()
        whole = batches(self._batch.shards[lease.shard], size)
        for batch in sorted(whole, key=lambda batch: any(set(_uids(batch)) & set(died) for died in lease.deaths)):
            if len(batch) > 1 and self._are_to_blame(lease, batch):
                yield from ([picture] for picture in batch)
            else:
                yield batch

    def _results(self, lease: Lease, batch: Sequence[Picture]) -> list[Drawn | Failure]:
        deaths = lease.deaths[_uids(batch)]
        if len(batch) == 1 and self._are_to_blame(lease, batch):
            what = f"the worker died {deaths} times while drawing this picture"
            return [Failure({"type": WORKER_DIED, "what": what, "message": what}, deaths)]
        if len(batch) == 1 and deaths and (witness := self._witness(batch[0])) is not None:
            lease.note(drawing=(witness.uid,))
            self._drawer.draw([witness])
            lease.note(drawing=_uids(batch))
        return self._drawer.draw(batch)

    def _are_to_blame(self, lease: Lease, batch: Sequence[Picture]) -> bool:
        return are_to_blame(self._batch, self._layout, lease, _uids(batch))

    def _witness(self, suspect: Picture) -> Picture | None:
        """A picture that is done, of the same shard if there is one."""
        near = self._batch.shards[suspect.shard]
        candidates = itertools.chain(
            near, (picture for picture in self._batch.pictures if picture.shard != suspect.shard)
        )
        drawn = (each for each in candidates if is_drawn(self._batch, self._layout, each.uid))
        return next((each for each in drawn if each.uid != suspect.uid), None)

    def _keep(self, lease: Lease, results: Sequence[tuple[Picture, Drawn | Failure]]) -> None:
        """Put the pictures in their places, or why they are missing; who comes second changes nothing."""
        worker, attempt = str(lease.state.process), lease.state.epoch
        for picture, result in results:
            if isinstance(result, Failure):
                record = {"error": result.error, "attempts": result.attempts, "worker": worker, "attempt": attempt}
                text = json.dumps(record)
                put_new(
                    self._batch.failure(picture.uid),
                    lambda file, text=text: file.write(text.encode()),
                    self._batch.parts,
                )
                continue
            made = result.generation
            row = measured(picture, made, worker=worker, attempt=attempt, batch_size=result.batch_size)
            put_new(
                self._layout.picture_path(picture.uid),
                lambda file, made=made, row=row: write_picture(file, made, row),
                self._batch.parts,
            )

    def _default_batch_size(self) -> int:
        return 1 if self._studio.pipeline.device.type == "cpu" else BATCH_ON_ACCELERATOR


def _uids(batch: Sequence[Picture]) -> Uids:
    return tuple(picture.uid for picture in batch)
