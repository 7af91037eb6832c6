"""Webdataset shards: NAME.tar with UID.png and UID.json side by side, read where they lie."""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.pipelines.training.items import SUFFIXES
from lora_loom.studio.evaluation.metadata import parse_row, sample_of
from lora_loom.studio.evaluation.picture_set import Picture, PictureSet

NOT_MADE = "{} pictures were not made (rows with an error) and are not in any number"


def read_shards(path: Path, shards: Sequence[Path]) -> PictureSet:
    """The pictures of all shards in the order of their names; raises EvaluationError for a damaged one."""
    pictures: dict[str, Picture] = {}
    failed = 0
    for shard in shards:
        images, rows = _members(shard)
        for uid, member in images.items():
            name = f"{uid}{PurePosixPath(member.name).suffix}"
            if name in pictures:
                raise EvaluationError(f"{name} is in two shards", found=f"{pictures[name].path.name}, {shard.name}")
            sample = sample_of(name, rows.get(uid, {}))
            pictures[name] = Picture(sample, shard, member.offset_data, member.size)
        failed += sum(1 for uid, row in rows.items() if uid not in images and row.get("error"))
        if lost := [uid for uid, row in rows.items() if uid not in images and not row.get("error")]:
            raise EvaluationError(f"{shard} has rows without pictures", found=", ".join(lost[:5]))
    if not pictures:
        raise EvaluationError(f"{path} holds no picture", found=f"{len(shards)} shards without pictures")
    ordered = tuple(pictures[name] for name in sorted(pictures))
    remarks = (NOT_MADE.format(failed),) if failed else ()
    return PictureSet(path, ordered, remarks)


def _members(shard: Path) -> tuple[dict[str, tarfile.TarInfo], dict[str, dict[str, Any]]]:
    """Pictures and rows of a shard by uid."""
    images: dict[str, tarfile.TarInfo] = {}
    rows: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:  # not compressed: pictures are read at their offsets
            for member in archive:
                name = PurePosixPath(member.name)
                uid = str(name.with_suffix(""))
                if not member.isfile():
                    continue
                if name.suffix.lower() in SUFFIXES:
                    images[uid] = member
                elif name.suffix == ".json":
                    file = archive.extractfile(member)
                    rows[uid] = parse_row(file.read() if file else b"", f"{member.name} in {shard}")
    except (tarfile.TarError, OSError) as error:
        raise EvaluationError(f"{shard} cannot be read", expected="an uncompressed .tar", found=str(error)) from error
    return images, rows
