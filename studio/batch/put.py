"""Putting a file in its place once: written aside, then linked to its name, which is never overwritten.

The existence of the name is the whole state: there is no second book that could disagree with it.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.batch.faults import fault_point

NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def put_new(path: Path, write: Callable[[BinaryIO], object], parts: Path) -> bool:
    """Write a file and give it the name `path`; False, and nothing changes, if there is one of that name already.

    Until it has its name the file is in the folder `parts` of the same file system, whole on the disk before it is
    linked. Raises OutputError for what the operating system refuses, such as a full disk.
    """
    part = parts / f"{path.name}.{secrets.token_hex(4)}.part"
    try:
        parts.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            fault_point("link")
            return _name(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} could not be written",
            found=error.strerror or str(error),
            remedy="Free some space or choose another place, then `loom batch run` again: what is done stays done",
        ) from error


def _name(part: Path, path: Path) -> bool:
    try:
        os.link(part, path)
    except FileExistsError:
        return part.stat().st_nlink > 1  # a network file system may answer a repeated question: then it was us
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        # A file system without links. Two that rename at the same moment put the same picture there.
        if path.exists():
            return False
        part.rename(path)
    return True
