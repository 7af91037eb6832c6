"""Layout: what every arrangement of a batch's pictures can do."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from lora_loom.pipelines.errors import OutputError, RecordError
from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.picture import Picture
from lora_loom.studio.batch.put import put_anew, put_new, sweep
from lora_loom.studio.batch.rows import Row, planned_row, read_row


class Layout(ABC):
    """Pictures are put one by one while their shard is being drawn; sealing makes a whole shard final, once."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @abstractmethod
    def picture_path(self, uid: str) -> Path:
        """Where the worker puts a picture; the file is there or not, never in part."""

    @abstractmethod
    def file_name(self, picture: Picture) -> str:
        """What the row of the picture calls its file."""

    @abstractmethod
    def pack(self, shard: int, rows: Sequence[Row]) -> None:
        """Do with these pictures what comes before sealing; after a death it may be done again."""

    def tidy(self, shard: int) -> None:  # noqa: B027 - there may be nothing to do
        """Remove what a sealed shard needs no more."""

    @abstractmethod
    def read(self, row: Row) -> bytes:
        """The PNG of a row; raises OSError and KeyError if it is not there."""

    @abstractmethod
    def stray(self) -> Iterator[str]:
        """Pictures in the folder that no row names."""

    def is_done(self, uid: str) -> bool:
        """Whether the picture has been drawn or has failed for good."""
        return self.picture_path(uid).exists() or self.batch.failure(uid).exists()

    def seal(self, shard: int) -> None:
        """Make the shard final, all of whose pictures are done; a second worker that does so changes nothing.

        Raises OutputError, and RecordError for a file that is not the picture it should be.
        """
        batch = self.batch
        try:
            rows = [self._row(picture) for picture in batch.shards[shard]]
            drawn = [row for row in rows if "error" not in row]
            self.pack(shard, drawn)
            lines = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
            put_new(batch.sealed_shard(shard), lambda file: file.write(lines.encode()), batch.parts)
        except (OSError, RecordError, OutputError):
            if not batch.is_sealed(shard):  # else another worker sealed and tidied it meanwhile
                raise
        self.tidy(shard)

    def _row(self, picture: Picture) -> Row:
        path = self.picture_path(picture.uid)
        if path.exists():
            return {"file_name": self.file_name(picture), **read_row(path, picture)}
        return planned_row(picture) | json.loads(self.batch.failure(picture.uid).read_text(encoding="utf-8"))

    def finish(self) -> None:
        """Write metadata.jsonl and failed.jsonl from the sealed shards, and remove what no one needs any more.

        Raises OutputError.
        """
        batch = self.batch
        for path, lines in self._gathered().items():
            if lines or path.name == "metadata.jsonl":
                put_anew(path, lambda file, lines=lines: file.writelines(lines), batch.parts)
            else:
                path.unlink(missing_ok=True)
        if len(batch.sealed_shards()) == len(batch.shards):
            for shard in batch.shards:
                self.tidy(shard)
        sweep(batch.parts)

    def is_gathered(self) -> bool:
        """Whether metadata.jsonl and failed.jsonl are what the sealed shards say."""
        return all(
            (path.read_bytes() if path.exists() else b"") == b"".join(lines) for path, lines in self._gathered().items()
        )

    def _gathered(self) -> dict[Path, list[bytes]]:
        """The lines of the two files."""
        drawn, failed = self.batch.folder / "metadata.jsonl", self.batch.folder / "failed.jsonl"
        found: dict[Path, list[bytes]] = {drawn: [], failed: []}
        for row in sealed_rows(self.batch):
            line = json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
            found[failed if "error" in row else drawn].append(line.encode())
        return found


def sealed_rows(batch: Batch) -> Iterator[Row]:
    """The rows of all sealed shards in the order of the manifest; those of pictures that failed hold an `error`."""
    for shard in sorted(batch.sealed_shards()):
        yield from shard_rows(batch, shard)


def shard_rows(batch: Batch, shard: int) -> Iterator[Row]:
    """The rows of one sealed shard."""
    with batch.sealed_shard(shard).open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file)
