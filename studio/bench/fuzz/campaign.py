"""A campaign of fuzzing: legs in processes of their own, each kept when it has ended, so that a stopped one goes on."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.bench.fuzz.leg import loaded_code
from lora_loom.studio.bench.fuzz.parsers import PARSERS, Parser
from lora_loom.studio.results import Row

MIB = 1 << 20
FLAT_BYTES = 64 * MIB  # what a leg may grow by: the fuzzer's own corpus grows, too


@dataclass(frozen=True)
class Leg:
    """So many inputs to one parser from one seed."""

    parser: str
    inputs: int
    seed: int

    @property
    def file_name(self) -> str:
        return f"{self.parser}-{self.inputs}-{self.seed}.json"


def legs_of(parsers: Sequence[Parser], inputs: Mapping[str, int], seed: int, most: int) -> list[Leg]:
    """The legs that give every group its `inputs` in all, shared evenly by its parsers, `most` inputs in a leg."""
    found: list[Leg] = []
    for group, whole in inputs.items():
        members = [parser.name for parser in parsers if parser.group == group]
        for place, name in enumerate(members):
            left = whole // len(members) + (place < whole % len(members))
            for number in range((left + most - 1) // most):
                found.append(Leg(name, min(most, left - number * most), seed + number))
    return found


def run(legs: Sequence[Leg], folder: Path, workers: int, on_leg: Callable[[Leg], None] = lambda leg: None) -> list[Row]:
    """Run the legs that have not been run in `folder`, and give the rows of all; faults lie there as files.

    Raises LoomError where atheris is missing, where the folder holds legs of other code, and where a process of fuzzing
    ends by itself, which is a fault, too.
    """
    if importlib.util.find_spec("atheris") is None:
        raise LoomError("atheris is not installed here", remedy="pip install 'lora-loom[dev]', which has it on Linux")
    folder.mkdir(parents=True, exist_ok=True)
    rows_of(legs, folder)  # raises before hours are spent on what cannot be added up
    telling = threading.Lock()

    def do(leg: Leg) -> None:
        if not (folder / leg.file_name).exists():
            _run_leg(leg, folder)
        with telling:
            on_leg(leg)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(do, legs))
    return rows_of(legs, folder)


def _check_code(tally: Mapping[str, Any], folder: Path) -> None:
    """Raises LoomError if the code that a leg ran has been changed since: its figures are of no code that is there."""
    here = loaded_code(tally["code"])
    if changed := [name for name, digest in tally["code"].items() if here.get(name) != digest]:
        raise LoomError(
            f"{folder} holds what was fuzzed with other code",
            expected="the code of its legs",
            found=f"changed: {', '.join(changed[:3])}{' and others' if len(changed) > 3 else ''}",
            remedy="give a new --work",
        )


def rows_of(legs: Sequence[Leg], folder: Path) -> list[Row]:
    """One row for each parser of the legs that have ended, and one for each group.

    Raises LoomError where a leg ran other code than is here.
    """
    tallies = [json.loads(path.read_text()) for leg in legs if (path := folder / leg.file_name).exists()]
    for tally in tallies:
        _check_code(tally, folder)
    rows: list[Row] = []
    for parser in PARSERS:
        if own := [tally for tally in tallies if tally["parser"] == parser.name]:
            rows.append({"parser": parser.name, "group": parser.group, "what": parser.what, **_sum(own)})
    for group in dict.fromkeys(parser.group for parser in PARSERS):
        names = {parser.name for parser in PARSERS if parser.group == group}
        if own := [tally for tally in tallies if tally["parser"] in names]:
            rows.append({"parser": "all", "group": group, "what": f"all inputs of the group {group}", **_sum(own)})
    return rows


def _sum(tallies: Sequence[Mapping[str, int]]) -> Row:
    """Counts added up; of memory the leg that grew most."""
    counts = {name: sum(each[name] for each in tallies) for name in ("inputs", "accepted", "refused")}
    faults = {name: sum(each[name] for each in tallies) for name in ("uncaught", "slow")}
    worst = max(tallies, key=lambda each: each["memory_end"] - each["memory_settled"])
    growth = worst["memory_end"] - worst["memory_settled"]
    return {
        **counts,
        **faults,
        "processes": len(tallies),
        "memory_settled_mib": round(worst["memory_settled"] / MIB, 1),
        "memory_end_mib": round(worst["memory_end"] / MIB, 1),
        "holds": not any(faults.values()) and growth <= FLAT_BYTES,
    }


def _run_leg(leg: Leg, folder: Path) -> None:
    out = folder / leg.file_name
    corpus = folder / "corpus" / hashlib.sha1(leg.file_name.encode()).hexdigest()[:8]
    command = [sys.executable, "-m", "lora_loom.studio.bench.fuzz.leg", leg.parser, str(leg.inputs), str(leg.seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    log = folder / f"{out.stem}.log"
    memory = Path("/dev/shm")  # files in memory: the disk is not what is tested
    with (
        log.open("wb") as file,
        tempfile.TemporaryDirectory(prefix="loom-fuzz-", dir=memory if memory.is_dir() else None) as files,
    ):
        done = subprocess.run(
            [*command, str(out), str(corpus), files],
            stdout=file,
            stderr=file,
            check=False,
            env=environment,
            cwd=folder,
        )
    if not out.exists():
        raise LoomError(
            f"the process that fuzzed {leg.parser} with seed {leg.seed} ended by itself",
            expected="so many inputs, then the end",
            found=f"exit code {done.returncode}",
            remedy=f"{log} and the crash- files beside it say what came",
        )
