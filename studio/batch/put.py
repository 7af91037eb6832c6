"""Putting a file in its place once: written aside, then linked to its name, which is never overwritten.

The existence of the name is the whole state: there is no second book that could disagree with it.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.batch.faults import fault_point
from lora_loom.studio.liveness import ProcessIdentity, is_gone, this_process

ABANDONED_SECONDS = 3600.0  # a part of another machine that is so old belongs to nobody any more
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def put_new(path: Path, write: Callable[[BinaryIO], object], parts: Path) -> bool:
    """Write a file and give it the name `path`; False, and nothing changes, if there is one of that name already.

    Until it has its name the file is in the folder `parts` of the same file system, whole on the disk before it is
    linked. Raises OutputError for what the operating system refuses, such as a full disk.
    """
    return _put(path, write, parts, _name)


def put_anew(path: Path, write: Callable[[BinaryIO], object], parts: Path) -> None:
    """The same for a file that takes the place of one of its name."""

    def replace(part: Path, path: Path) -> bool:
        part.replace(path)
        return True

    _put(path, write, parts, replace)


def _put(path: Path, write: Callable[[BinaryIO], object], parts: Path, give_name: Callable[[Path, Path], bool]) -> bool:
    part = part_of(path.name, parts)
    try:
        parts.mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            fault_point("link")
            return give_name(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path} could not be written",
            found=error.strerror or str(error),
            remedy="Free some space or choose another place, then `loom batch run` again: what is done stays done",
        ) from error


def part_of(name: str, parts: Path) -> Path:
    """Where a file is written until it has its name; whose it is can be read off."""
    process = this_process()
    owner = f"{_short(process.host)}-{process.pid}-{process.started.replace('.', '_')}"
    return parts / f"{name}.{owner}.{secrets.token_hex(4)}.part"


def sweep(parts: Path) -> None:
    """Remove what processes that are gone left in `parts`; of other machines only what is old."""
    for part in parts.glob("*"):
        with suppress(OSError):  # another worker may be sweeping, too
            if _is_abandoned(part):
                part.unlink()


def _is_abandoned(part: Path) -> bool:
    me = this_process()
    host, _, rest = (part.name.split(".")[-3:] or [""])[0].partition("-")
    pid, _, started = rest.partition("-")
    if host == _short(me.host) and pid.isdecimal():
        return is_gone(ProcessIdentity(me.host, int(pid), started.replace("_", "."))) is True
    return time.time() - part.stat().st_mtime > ABANDONED_SECONDS


def _short(host: str) -> str:
    return f"{zlib.crc32(host.encode()):08x}"


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
