"""Loose files: images/ab/<uid>.png beside metadata.jsonl, as the ImageFolder of Hugging Face data sets reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts.layout import Layout
from lora_loom.studio.batch.picture import Picture
from lora_loom.studio.batch.rows import Row


class LooseFiles(Layout):
    def picture_path(self, uid: str) -> Path:
        return self.batch.folder / "images" / uid[:2] / f"{uid}.png"

    def file_name(self, picture: Picture) -> str:
        return self.picture_path(picture.uid).relative_to(self.batch.folder).as_posix()

    def pack(self, shard: int, rows: Sequence[Row]) -> None:
        """Every picture has its final name already."""

    def read(self, row: Row) -> bytes:
        return self.batch.folder.joinpath(row["file_name"]).read_bytes()

    def stray(self) -> Iterator[str]:
        for path in sorted((self.batch.folder / "images").rglob("*")):
            if path.is_file() and (path.suffix != ".png" or path.stem not in self.batch.by_uid):
                yield path.relative_to(self.batch.folder).as_posix()


def make(batch: Batch) -> LooseFiles:
    return LooseFiles(batch)
