"""Finding the pictures to measure: a plain folder, an ImageFolder with metadata.jsonl, or webdataset shards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import EvaluationError, RecordError
from lora_loom.pipelines.training.items import SUFFIXES, listed
from lora_loom.studio.evaluation.metadata import read_rows, sample_of
from lora_loom.studio.evaluation.metric import Sample
from lora_loom.studio.evaluation.picture_set import Picture, PictureSet
from lora_loom.studio.evaluation.shards import NOT_MADE, read_shards
from lora_loom.studio.records.record import read_record


def read_pictures(path: Path) -> PictureSet:
    """The pictures at `path`; raises EvaluationError for an empty folder, bad rows (by line) and missing files.

    Shards (.tar) are read if there are any. A `metadata.jsonl` names the pictures and what is known of them. Without
    one, all pictures in the folder and below are taken; those that Loom saved carry their prompt and seed themselves.
    """
    if path.is_file() and path.suffix == ".tar":
        return read_shards(path, [path])
    if not path.is_dir():
        raise EvaluationError(f"{path} is not there", expected="a folder of pictures, or a .tar shard")
    if shards := sorted(path.glob("*.tar")):
        found = read_shards(path, shards)
        return replace(found, remarks=(*found.remarks, *_failures(path)))
    if (path / "metadata.jsonl").is_file():
        return _with_metadata(path)
    return _checked(path, (Picture(_from_record(path, file), file) for file in _files(path)))


def _failures(folder: Path) -> tuple[str, ...]:
    """What is said about pictures that were not made: rows with an error, also those in a batch's failed.jsonl."""
    files = [folder / name for name in ("metadata.jsonl", "failed.jsonl")]
    failed = sum(1 for file in files if file.is_file() for _, row in read_rows(file) if row.get("error"))
    return (NOT_MADE.format(failed),) if failed else ()


def _with_metadata(folder: Path) -> PictureSet:
    """The pictures that the rows of metadata.jsonl name; rows of failed pictures have no file."""
    pictures: list[Picture] = []
    named: set[str] = set()
    for number, row in read_rows(folder / "metadata.jsonl"):
        name = row.get("file_name")
        where = f"line {number} of {folder / 'metadata.jsonl'}"
        if not name and row.get("error"):
            continue
        if not isinstance(name, str) or not name:
            raise EvaluationError(f"{where} names no picture", expected='"file_name"', found=json.dumps(row)[:80])
        file = folder / name
        if not file.resolve().is_relative_to(folder.resolve()):
            raise EvaluationError(f"{where} points outside the folder", found=name)
        if name in named:
            raise EvaluationError(f"{where} names {name} a second time", remedy="Keep one row per picture")
        if not file.is_file():
            raise EvaluationError(f"{where} names a picture that is not there", found=name)
        named.add(name)
        pictures.append(Picture(sample_of(name, row), file))
    remarks = list(_failures(folder))
    if strangers := [file for file in _files(folder) if file.relative_to(folder).as_posix() not in named]:
        names = listed([file.name for file in strangers])
        remarks.append(f"{len(strangers)} files have no row in metadata.jsonl and are not in any number: {names}")
    return replace(_checked(folder, pictures), remarks=tuple(remarks))


def _files(folder: Path) -> Sequence[Path]:
    """All pictures in the folder and below, hidden ones left out."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and file.is_file()
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def _checked(path: Path, pictures: Iterable[Picture]) -> PictureSet:
    ordered = tuple(sorted(pictures, key=lambda picture: picture.sample.name))
    if not ordered:
        raise EvaluationError(
            f"{path} holds no picture", expected=f"files ending in {', '.join(SUFFIXES)}, or shards (.tar)"
        )
    return PictureSet(path, ordered)


def _from_record(folder: Path, file: Path) -> Sample:
    """What the picture says about itself, if Loom saved it."""
    name = file.relative_to(folder).as_posix()
    if file.suffix.lower() != ".png":
        return Sample(name)
    try:
        record = read_record(file)
    except RecordError:  # most pictures are not Loom's
        return Sample(name)
    request = record.request
    row: dict[str, Any] = {
        "prompt": request.prompt,
        "seed": record.seed,
        "method": request.method,
        "adapters": [choice.name for choice in request.adapters],
        "num_inference_steps": request.num_inference_steps,
        "seconds": record.seconds,
        "passes": dict(record.passes),
        "peak_memory_bytes": record.peak_memory_bytes,
    }
    return sample_of(name, row)
