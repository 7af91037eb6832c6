"""Writing a file whole or not at all: a picture, a LoRA or a log is never half there, also when the disk is full."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lora_loom.pipelines.errors import OutputError


@contextmanager
def atomic_file(path: str | Path) -> Generator[BinaryIO]:
    """A new file to write to, which becomes `path` in one step at the end of the block if nothing was raised.

    Missing folders are made. Until the end the bytes are in `.NAME.xxxxxxxx.part` beside `path`, which is removed when
    anything is raised. Raises OutputError for what the operating system refuses, such as writing to a full disk.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{target} could not be written",
            found=error.strerror or str(error),
            remedy="Free some space or choose another place; nothing was left half-written",
        ) from error
