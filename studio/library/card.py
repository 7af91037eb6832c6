"""AdapterCard: one LoRA file as it is shown and chosen, without its tensors being read."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from lora_loom.pipelines.errors import AdapterFileError
from lora_loom.studio.sidecars import clean_text

MAX_NAME = 200  # characters
FileKey = tuple[Path, int, int]  # path, bytes, nanoseconds of the last change


@dataclass(frozen=True)
class AdapterCard:
    """One LoRA file as it is shown and chosen.

    `name` is what requests and prompts use: the file's stem, with as many parent folders before it as make it
    unique. `id` is ours, so that no file name reaches an endpoint. `rank` is the largest in the file. `strength` is
    what its author recommends, else 1. `problem` says why a file cannot be used; `remarks` what was wrong beside
    it.
    """

    id: str
    name: str
    title: str
    category: str
    triggers: tuple[str, ...]
    description: str
    tags: tuple[str, ...]
    preview_path: Path | None
    base_family: str
    rank: int | None
    strength: float
    path: Path
    size_bytes: int
    problem: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def trigger(self) -> str:
        """The trigger words as one text to put in a prompt."""
        return ", ".join(self.triggers)

    @property
    def file_key(self) -> FileKey:
        """What tells whether the file is still the same; raises AdapterFileError if it is gone."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return self.path, status.st_size, status.st_mtime_ns

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes in hexadecimal, computed when first asked for; raises AdapterFileError."""
        try:
            return _sha256(self.file_key)
        except OSError as error:
            raise _unreadable(self.path, error) from error


@functools.lru_cache(maxsize=4096)
def _sha256(key: FileKey) -> str:
    with key[0].open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, error: OSError) -> AdapterFileError:
    return AdapterFileError(
        f"{clean_text(path.name, MAX_NAME)} cannot be read",
        path=path,
        found=error.strerror or str(error),
        remedy="put the file back, or reload the page",
    )
