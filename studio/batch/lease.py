"""Leases: who draws a shard now, as files that only one worker can make, with an epoch that tells who came later.

`leases/00042.000003` is the third lease of shard 42. The file of the next epoch can be made by one worker only; from
then on the holder of the former is fenced off and stops when it sees it. A lease is stale when its process is gone, or
when nothing was heard of it for LEASE_SECONDS by the clock of the file system. What a worker was drawing when it died
stays in its lease, so that the pictures that kill workers are found.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.put import part_of, put_new
from lora_loom.studio.liveness import ProcessIdentity, is_gone, this_process

LEASE_SECONDS = 60.0
HEARTBEAT_SECONDS = 5.0


@dataclass(frozen=True)
class LeaseState:
    """What a lease file says: whose it is, the uids being drawn, pictures `done` in `seconds`, and how it ended."""

    shard: int
    epoch: int
    process: ProcessIdentity
    drawing: tuple[str, ...] = ()
    done: int = 0
    seconds: float = 0.0
    ended: bool = False


@dataclass
class Lease:
    """A shard that is ours, until someone else takes a later epoch of it. `state` is what the others can read."""

    batch: Batch
    state: LeaseState
    former: tuple[LeaseState, ...] = ()  # whose workers died while they drew

    @property
    def deaths(self) -> Counter[tuple[str, ...]]:
        """What was being drawn -> how often its worker died."""
        return Counter(state.drawing for state in self.former)

    @property
    def shard(self) -> int:
        return self.state.shard

    @property
    def fenced(self) -> bool:
        """Whether somebody has taken a later epoch, or the shard is sealed."""
        later = _path(self.batch, self.shard, self.state.epoch + 1)
        return later.exists() or self.batch.is_sealed(self.shard)

    def note(self, **changes: object) -> None:
        """Tell the others what goes on; raises OutputError."""
        self.state = LeaseState(**{**_fields(self.state), **changes})  # pyright: ignore[reportArgumentType]
        path = _path(self.batch, self.shard, self.state.epoch)
        part = part_of(path.name, self.batch.parts)
        try:
            self.batch.parts.mkdir(parents=True, exist_ok=True)
            part.write_text(_text(self.state), encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise OutputError(f"the lease {path} could not be written", found=error.strerror or str(error)) from error

    def beat(self) -> None:
        """Show that we live."""
        with suppress(OSError):
            os.utime(_path(self.batch, self.shard, self.state.epoch))

    def release(self) -> None:
        """Let others have the shard; on a full disk this may fail, and the lease is found stale when we are gone."""
        with suppress(OutputError):
            self.note(drawing=(), ended=True)


def claim(batch: Batch, shard: int) -> Lease | None:
    """A lease of the shard, None if it is sealed or another worker holds it; raises OutputError."""
    if batch.is_sealed(shard):
        return None
    former = states(batch, shard)
    if former and not is_free(batch, former[-1]):
        return None
    state = LeaseState(shard, epoch=former[-1].epoch + 1 if former else 1, process=this_process())
    path = _path(batch, shard, state.epoch)
    if not put_new(path, lambda file: file.write(_text(state).encode()), batch.parts):
        return None
    return Lease(batch, state, tuple(each for each in former if each.drawing and not each.ended))


def is_free(batch: Batch, state: LeaseState) -> bool:
    """Whether the latest lease of a shard has been released or is stale."""
    if state.ended:
        return True
    gone = is_gone(state.process)
    if gone is not None:
        return gone
    now = time.time() + _clock_offset(batch.parts, int(time.monotonic() // LEASE_SECONDS))
    try:
        silent = now - _path(batch, state.shard, state.epoch).stat().st_mtime
    except OSError:
        return False
    return silent > LEASE_SECONDS


def states(batch: Batch, shard: int) -> list[LeaseState]:
    """All leases there have been of a shard, in the order of their epochs."""
    found: list[LeaseState] = []
    while (path := _path(batch, shard, len(found) + 1)).exists():
        found.append(_read(path, shard, len(found) + 1))
    return found


def current(batch: Batch) -> Iterator[LeaseState]:
    """The latest lease of every shard that is not sealed."""
    try:
        names = [path.name for path in batch.leases.iterdir()]
    except FileNotFoundError:
        return
    latest: dict[int, int] = {}
    for name in names:
        shard, _, epoch = name.partition(".")
        latest[int(shard)] = max(int(epoch), latest.get(int(shard), 0))
    sealed = batch.sealed_shards()
    for shard, epoch in sorted(latest.items()):
        if shard not in sealed:
            yield _read(_path(batch, shard, epoch), shard, epoch)


def every_state(batch: Batch) -> Iterator[LeaseState]:
    """All leases there have been in the batch, those of sealed shards included."""
    for shard in batch.shards:
        yield from states(batch, shard)


def last_heard(batch: Batch, state: LeaseState) -> float:
    """When the holder of the lease last showed that it lived, by the clock of the file system."""
    try:
        return _path(batch, state.shard, state.epoch).stat().st_mtime
    except OSError:
        return 0.0


def forgive_deaths(batch: Batch) -> None:
    """Hold no picture responsible any more for workers that died over it."""
    for lease in list(current(batch)):
        for state in states(batch, lease.shard):
            Lease(batch, state).note(drawing=(), ended=True)


class Heartbeat(threading.Thread):
    """Shows every few seconds that the worker lives, also while a long picture is being drawn."""

    def __init__(self) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.lease: Lease | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            if (lease := self.lease) is not None:
                lease.beat()

    def stop(self) -> None:
        self._ended.set()


def _path(batch: Batch, shard: int, epoch: int) -> Path:
    return batch.leases / f"{shard:05d}.{epoch:06d}"


def _fields(state: LeaseState) -> dict[str, object]:
    return {name: getattr(state, name) for name in LeaseState.__dataclass_fields__}


def _text(state: LeaseState) -> str:
    return json.dumps(asdict(state))


def _read(path: Path, shard: int, epoch: int) -> LeaseState:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return LeaseState(**{**data, "drawing": tuple(data["drawing"]), "process": ProcessIdentity(**data["process"])})
    except (OSError, ValueError, KeyError, TypeError):  # a machine that lost power may leave a file without its content
        return LeaseState(shard, epoch, ProcessIdentity("", 0, ""), ended=True)


@functools.lru_cache(maxsize=8)
def _clock_offset(folder: Path, period: int) -> float:
    """How far the clock of the file system, which stamps the heartbeats, is ahead of ours; asked once in a `period`."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = part_of("clock", folder)
    try:
        probe.touch()
        return probe.stat().st_mtime - time.time()
    finally:
        probe.unlink(missing_ok=True)
