"""How far a batch is, read from its folder alone, so that any shell on any machine can ask."""

from __future__ import annotations

from dataclasses import dataclass

from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.layouts.layout import shard_rows
from lora_loom.studio.batch.lease import LeaseState, current, is_free


@dataclass(frozen=True)
class Progress:
    """Pictures `drawn` and `failed` of `pictures`; `working` are the leases of workers that live.

    `pictures_per_second` is the sum over the live workers, 0 where none has drawn yet; `eta_seconds` follows from it.
    """

    pictures: int
    drawn: int
    failed: int
    shards: int
    sealed: int
    working: tuple[LeaseState, ...] = ()

    @property
    def done(self) -> int:
        return self.drawn + self.failed

    @property
    def pictures_per_second(self) -> float:
        return sum(lease.done / lease.seconds for lease in self.working if lease.seconds > 0)

    @property
    def eta_seconds(self) -> float | None:
        speed = self.pictures_per_second
        return (self.pictures - self.done) / speed if speed else None


class ProgressReader:
    """Reads the progress of one batch again and again; sealed shards are counted once."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._layout = layout_of(batch)
        self._sealed: dict[int, tuple[int, int]] = {}  # shard -> drawn, failed

    def read(self) -> Progress:
        batch = self._batch
        for shard in batch.sealed_shards() - self._sealed.keys():
            rows = list(shard_rows(batch, shard))
            failed = sum("error" in row for row in rows)
            self._sealed[shard] = len(rows) - failed, failed
        drawn, failed = (sum(counts[i] for counts in self._sealed.values()) for i in (0, 1))
        working: list[LeaseState] = []
        for lease in current(batch):
            if lease.shard in self._sealed:
                continue
            for picture in batch.shards.get(lease.shard, ()):
                if self._layout.picture_path(picture.uid).exists():
                    drawn += 1
                elif batch.failure(picture.uid).exists():
                    failed += 1
            if not is_free(batch, lease):
                working.append(lease)
        return Progress(len(batch.pictures), drawn, failed, len(batch.shards), len(self._sealed), tuple(working))
