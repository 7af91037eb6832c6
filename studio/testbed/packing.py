"""A run as one file: what its pictures are made of and all that its jobs left; unpacked, it goes on elsewhere."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import RequestError
from lora_loom.studio.testbed.contestants import reads_gates
from lora_loom.studio.testbed.jobs import file_name_of

PACKED = "pocketcompose.jsonl.gz"
CLAIM = "run.json"  # in the folder of a run: what its pictures are made of


def claim(out: Path, kind: dict[str, Any]) -> None:
    """Note in the folder what its pictures are made of. Raises RequestError where they are made of something else."""
    note = out / CLAIM
    out.mkdir(parents=True, exist_ok=True)
    if not note.exists():
        note.write_text(json.dumps(kind))
    elif (held := json.loads(note.read_text())) != kind:
        raise RequestError(
            f"{out} holds pictures of another run",
            expected=json.dumps(held),
            found=json.dumps(kind),
            remedy="Choose another folder.",
        )


def pack(out: Path) -> Path:
    """All files of a run as lines of one compressed file, the first of which is its claim."""
    path = out / PACKED
    lines = [json.dumps({"run": json.loads((out / CLAIM).read_text())})]
    lines += [file.read_text() for file in sorted((out / "jobs").iterdir()) if file.suffix in (".json", ".error")]
    with atomic_file(path) as packed:
        packed.write(gzip.compress(("\n".join(lines) + "\n").encode(), mtime=0))
    return path


def unpack(path: Path, out: Path) -> int:
    """Put the finished jobs of a packed run into the folder of a run, beside those it has; how many came.

    Where the folder was claimed with other gates, jobs that read a gate stay behind, to be drawn again. Raises
    RequestError for a file without a claim, and where the folder holds a run of another kind.
    """
    jobs, kind, gates_changed = out / "jobs", None, False
    jobs.mkdir(parents=True, exist_ok=True)
    came = 0
    for held in lines_of(path):
        if "run" in held:
            kind = held["run"]
            gates_changed = _with_gates_of(out, kind) != kind
            claim(out, _with_gates_of(out, kind))
        elif kind is None:
            raise RequestError(
                f"{path} does not tell what its pictures are made of",
                expected="a run's claim in the first line",
                remedy="Begin a new run.",
            )
        elif "contestant" in held and "error" not in held:
            if gates_changed and reads_gates(held["contestant"]):
                continue
            file = jobs / file_name_of(held["contestant"], held["set"])
            if not file.exists():
                with atomic_file(file) as whole:
                    whole.write(json.dumps(held).encode())
                came += 1
    return came


def _with_gates_of(out: Path, kind: dict[str, Any]) -> dict[str, Any]:
    """What a packed run's pictures are made of, with the gates that a folder is claimed for."""
    note = out / CLAIM
    return {**kind, "gates": json.loads(note.read_text())["gates"]} if note.exists() else kind


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a packed run."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())
