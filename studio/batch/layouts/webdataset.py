"""webdataset: 00042.tar with <uid>.png and <uid>.json of every picture of a shard, and 00042.parquet, its index.

The convention is that of img2dataset and webdataset: the files of a sample are neighbours and share their stem. Until
its shard is sealed a picture lies in work/staged.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts.layout import Layout
from lora_loom.studio.batch.picture import Picture
from lora_loom.studio.batch.put import put_new
from lora_loom.studio.batch.rows import Row


class TarShards(Layout):
    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._members: dict[int, dict[str, tuple[int, int]]] = {}  # of every tar read: name -> offset, bytes

    def picture_path(self, uid: str) -> Path:
        return self.batch.work / "staged" / uid[:2] / f"{uid}.png"

    def file_name(self, picture: Picture) -> str:
        return f"{picture.uid}.png"

    def pack(self, shard: int, rows: Sequence[Row]) -> None:
        paths = [self.picture_path(row["uid"]) for row in rows]
        put_new(self._tar(shard), lambda file: _write_tar(file, paths, rows), self.batch.parts)
        put_new(self._tar(shard).with_suffix(".parquet"), lambda file: _write_index(file, rows), self.batch.parts)

    def tidy(self, shard: int) -> None:
        for picture in self.batch.shards[shard]:
            self.picture_path(picture.uid).unlink(missing_ok=True)

    def read(self, row: Row) -> bytes:
        shard = self.batch.by_uid[row["uid"]].shard
        if shard not in self._members:
            with tarfile.open(self._tar(shard)) as tar:
                self._members[shard] = {member.name: (member.offset_data, member.size) for member in tar}
        offset, size = self._members[shard][row["file_name"]]
        with self._tar(shard).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def stray(self) -> Iterator[str]:
        """Members of the tars that are not of the shard, or are there twice; and tars of no shard."""
        expected = {f"{shard:05d}": {p.uid for p in pictures} for shard, pictures in self.batch.shards.items()}
        for path in sorted(self.batch.folder.glob("*.tar")):
            with tarfile.open(path) as tar:
                names = tar.getnames()
            seen: set[str] = set()
            for name in names:
                if name in seen or name.partition(".")[0] not in expected.get(path.stem, ()):
                    yield f"{path.name}: {name}"
                seen.add(name)

    def _tar(self, shard: int) -> Path:
        return self.batch.folder / f"{shard:05d}.tar"


def make(batch: Batch) -> TarShards:
    return TarShards(batch)


def _write_tar(file: BinaryIO, paths: Sequence[Path], rows: Sequence[Row]) -> None:
    """The same pictures give the same bytes: no owner, no time."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, row in zip(paths, rows, strict=True):
            for suffix, content in ((".png", path.read_bytes()), (".json", json.dumps(row).encode())):
                member = tarfile.TarInfo(f"{row['uid']}{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _write_index(file: BinaryIO, rows: Sequence[Row]) -> None:
    """One row per picture; what is not one value is JSON, so that all shards have the same columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(rows[0]) if rows else []
    columns: dict[str, Any] = {name: [_cell(row[name]) for row in rows] for name in names}
    pq.write_table(pa.table(columns), file)


def _cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
