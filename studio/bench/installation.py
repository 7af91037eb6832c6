"""What installing takes: `python -m lora_loom.studio.bench.installation`, in a clone of Loom.

Makes the environment of `make studio`, and then what `make test` adds, in a folder of its own, and writes the bytes on
disk and the seconds of each to `docs/results/installation.json`. Nothing is taken from pip's cache, so the seconds
hold for a connection like the one it was run on.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from lora_loom.studio.results import ROOT, Row, write_results

NAME = "installation"
COMMAND = "python -m lora_loom.studio.bench.installation"
STEPS = (("make studio", "installed"), ("make test", "installed-dev"))  # what asks for it, and the target in the folder


def size_of(folder: Path) -> int:
    """Bytes of all files under a folder, each file once."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def measured(make: Callable[[str], None], venv: Path) -> list[Row]:
    """A row for each of STEPS, made by `make`: bytes of the environment after it, and the seconds it took."""
    rows: list[Row] = []
    for asked, target in STEPS:
        started = time.monotonic()
        make(target)
        took = time.monotonic() - started
        rows.append({"asked": asked, "megabytes": round(size_of(venv) / 1e6), "seconds": round(took), "n": 1})
    return rows


def sentence(rows: Sequence[Row]) -> str:
    """What the README says of it."""
    studio, tests = rows
    more = int(tests["megabytes"] or 0) - int(studio["megabytes"] or 0)
    return (
        f"`make studio` fills {_gigabytes(studio['megabytes'])} GB, most of them torch and its CUDA libraries, and "
        f"took {_minutes(studio['seconds'])} on a machine with a fast connection; `make test` adds {more} MB and "
        f"{_minutes(tests['seconds'])}."
    )


def _gigabytes(megabytes: object) -> str:
    return f"{float(str(megabytes)) / 1000:.1f}"


def _minutes(seconds: object) -> str:
    minutes = float(str(seconds)) / 60
    return f"{minutes:.1f} minutes" if minutes >= 1 else "less than a minute"


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="loom-installation.") as folder:
        venv = Path(folder) / "venv"
        own = {**os.environ, "VENV": str(venv), "EXTRAS": "dev", "PIP_NO_CACHE_DIR": "1"}

        def make(target: str) -> None:
            subprocess.run(("make", f"VENV={venv}", "EXTRAS=dev", str(venv / target)), cwd=ROOT, env=own, check=True)

        rows = measured(make, venv)
    write_results(NAME, COMMAND, rows)


if __name__ == "__main__":
    main()
