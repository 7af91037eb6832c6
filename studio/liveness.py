"""Who a worker is, and whether it still lives: at once on the same machine, by silence on any other."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process: `host` tells machines and containers apart, `started` a process from a later one of the same id."""

    host: str
    pid: int
    started: str

    def __str__(self) -> str:
        return f"{self.host.partition('/')[0]}:{self.pid}"


def this_process() -> ProcessIdentity:
    pid = os.getpid()
    return ProcessIdentity(_host(), pid, _started(pid))


def is_gone(process: ProcessIdentity) -> bool | None:
    """Whether the process has ended; None where that cannot be seen from here."""
    if process.host != _host():
        return None
    return _started(process.pid) != process.started


@cache
def _host() -> str:
    """The name of the machine and of the namespace of its process ids."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{platform.node()}/{namespace}"


def _started(pid: int) -> str:
    """When the process began, in the kernel's ticks; empty if there is none, or only its remains."""
    if not Path("/proc/self/stat").exists():
        return _started_elsewhere(pid)
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return ""
    return "" if after_name[0] in "ZX" else after_name[19]  # proc(5): state is field 3, starttime field 22


def _started_elsewhere(pid: int) -> str:
    """The same on systems without /proc, where it is a time."""
    import psutil  # comes with accelerate

    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return ""
