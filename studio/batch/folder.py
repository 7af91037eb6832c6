"""Batch: the folder of a batch, with its frozen plan and where everything in it lies.

batch.json         what was planned, with the hash of the manifest; written last
manifest.jsonl     one line per picture, never changed
images/ or *.tar   the pictures, see layouts/
metadata.jsonl     one row per picture drawn;  failed.jsonl  one per picture that could not be
work/              leases, sealed shards, records of failures, files half-written
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lora_loom.pipelines.errors import BatchError, LoomError
from lora_loom.studio.batch.picture import Picture

FORMAT = 1  # grows when an older Loom could misread a batch


@dataclass(frozen=True)
class BatchInfo:
    """What batch.json says. `batch_size` 0 leaves it to the device; `library` are the folders of LoRAs at planning."""

    name: str
    manifest_sha256: str
    pictures: int
    shards: int
    layout: str
    base_model: str
    base_model_revision: str
    library: tuple[str, ...]
    batch_size: int
    picture_seconds: float
    created_at: str
    versions: Mapping[str, str]

    @property
    def id(self) -> str:
        return self.manifest_sha256[:12]


@dataclass(frozen=True)
class Batch:
    """A planned batch in `folder`; `open_batch` checks that it is what was planned."""

    folder: Path
    info: BatchInfo
    pictures: tuple[Picture, ...]

    @cached_property
    def shards(self) -> dict[int, list[Picture]]:
        """The pictures of every shard, in the order in which they are drawn."""
        shards: dict[int, list[Picture]] = {}
        for picture in self.pictures:
            shards.setdefault(picture.shard, []).append(picture)
        return shards

    @cached_property
    def by_uid(self) -> dict[str, Picture]:
        return {picture.uid: picture for picture in self.pictures}

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def parts(self) -> Path:
        """For files that have not got their name yet."""
        return self.work / "parts"

    @property
    def leases(self) -> Path:
        return self.work / "leases"

    @property
    def sealed(self) -> Path:
        """For the rows of finished shards."""
        return self.work / "shards"

    def sealed_shard(self, shard: int) -> Path:
        return self.sealed / f"{shard:05d}.jsonl"

    def failure(self, uid: str) -> Path:
        """The record of why a picture could not be drawn."""
        return self.work / "failed" / f"{uid}.json"

    def is_sealed(self, shard: int) -> bool:
        return self.sealed_shard(shard).exists()

    def sealed_shards(self) -> set[int]:
        """The shards that are finished."""
        try:
            return {int(path.stem) for path in self.sealed.iterdir() if path.suffix == ".jsonl"}
        except FileNotFoundError:
            return set()


def manifest_of(folder: Path) -> Path:
    return folder / "manifest.jsonl"


def info_of(folder: Path) -> Path:
    return folder / "batch.json"


def read_info(folder: Path) -> BatchInfo:
    """What batch.json in the folder says; raises BatchError."""
    path = info_of(folder)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("format") != FORMAT:
            raise BatchError(f"{path} has another format", expected=f"format {FORMAT}", remedy="Update Loom to read it")
        return BatchInfo(**{**data, "library": tuple(data["library"])})
    except FileNotFoundError as error:
        raise BatchError(
            f"there is no batch in {folder}",
            expected="a folder with a batch.json",
            remedy="Plan it first: loom batch plan SUITE.toml --out FOLDER",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BatchError(f"{path} cannot be read", found=str(error)[:200]) from error


def open_batch(folder: Path) -> Batch:
    """The batch in the folder; raises BatchError if its manifest is not the one that was planned."""
    info = read_info(folder)
    path = manifest_of(folder)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BatchError(f"the manifest {path} cannot be read", found=error.strerror or str(error)) from error
    found = hashlib.sha256(content).hexdigest()
    if found != info.manifest_sha256:
        raise BatchError(
            f"the manifest {path} has changed since the plan",
            expected=f"SHA-256 {info.manifest_sha256[:12]}",
            found=found[:12],
            remedy="Put the planned manifest back, or plan into another folder",
        )
    try:
        pictures = tuple(Picture.from_dict(json.loads(line)) for line in content.splitlines())
    except (ValueError, KeyError, TypeError, LoomError) as error:
        raise BatchError(f"the manifest {path} was planned by another Loom", found=str(error)[:200]) from error
    return Batch(folder, info, pictures)
