"""One process of fuzzing: so many inputs to one parser, led by the coverage of Loom's own code.

`python -m lora_loom.studio.bench.fuzz.leg PARSER INPUTS SEED OUT CORPUS FILES` leaves what came of it as JSON in OUT,
and beside it every input that was a fault; FILES is a folder for the files that the parser reads. libFuzzer, which
atheris drives, never gives a process back: it ends here.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CPU_SECONDS = 1.0  # that one input may take
SETTLED = 5  # the memory counts from this part of the inputs on: before, caches fill
LONGEST = 4096  # bytes of one input
KEPT_FAULTS = 50
FROM_A_SEED = 0.4  # of inputs that are changed from a sound one: what broke once and was kept is mostly refused again


@dataclass
class Tally:
    """What came of the inputs so far; memory in bytes. `uncaught` and `slow` are faults."""

    parser: str
    seed: int
    code: Mapping[str, str]
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    uncaught: int = 0
    slow: int = 0
    memory_settled: int = 0
    memory_end: int = 0


class _TooSlowError(BaseException):
    """One input took more than its time; no parser catches it."""


def run(name: str, inputs: int, seed: int, out: Path, corpus: Path, files: Path) -> None:
    """Fuzz one parser and end the process: with 0, whatever was found."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["lora_loom"], enable_loader_override=False):
        from lora_loom.studio.bench.fuzz import mutations, parsers, seeds

        parser = parsers.parser_named(name)
        corpus.mkdir(parents=True, exist_ok=True)
        sound = seeds.seeds_of(name)
        for seeded in sound:
            (corpus / hashlib.sha1(seeded).hexdigest()).write_bytes(seeded)
        take = parser.prepare(files)
        for seeded in sound:  # imports that parsers do late are instrumented, too
            take(seeded)
    tally = Tally(name, seed, loaded_code(sys.modules))

    def one(data: bytes) -> None:
        try:
            _timed(take, data)
        except parser.refusals:
            tally.refused += 1
        except _TooSlowError:
            tally.slow += 1
            _keep_fault(out, data, f"more than {CPU_SECONDS} s of CPU time", tally.slow)
        except Exception:
            tally.uncaught += 1
            _keep_fault(out, data, traceback.format_exc(), tally.uncaught)
        else:
            tally.accepted += 1
        tally.inputs += 1
        if tally.inputs == max(inputs // SETTLED, 1):
            tally.memory_settled = _memory()
        if tally.inputs == inputs:
            tally.memory_end = _memory()
            out.write_text(json.dumps(asdict(tally)), encoding="utf-8")
            sys.stdout.flush()
            os._exit(0)

    change = mutations.CHANGES.get(name)

    def mutate(data: bytes, most: int, number: int) -> bytes:
        rng = random.Random(number)
        if rng.random() < FROM_A_SEED:
            data = rng.choice(sound)
        if change is not None and rng.random() < mutations.SHARES.get(name, mutations.SHARE):
            return change(data, rng)[:most]
        return atheris.Mutate(data, most)

    signal.signal(signal.SIGPROF, _too_slow)
    quiet = ["-verbosity=0", "-print_final_stats=0", "-rss_limit_mb=0", "-len_control=0", "-mutate_depth=2"]
    bounds = [f"-seed={seed + 1}", f"-max_len={LONGEST}", "-reload=0"]
    atheris.Setup([sys.argv[0], *quiet, *bounds, str(corpus)], one, custom_mutator=mutate)
    atheris.Fuzz()


def loaded_code(modules: Iterable[str]) -> dict[str, str]:
    """Hashes of the files of Loom's own modules among those names, by which it is known whether they were changed."""
    root = Path(__file__).parents[3]
    found: dict[str, str] = {}
    for name in sorted(name for name in modules if name.startswith("lora_loom.")):
        path = root.joinpath(*name.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file.is_file():
            found[name] = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    return found


def _timed(take: object, data: bytes) -> None:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        take(data)  # pyright: ignore[reportCallIssue]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _too_slow(*_: object) -> None:
    raise _TooSlowError


def _keep_fault(out: Path, data: bytes, why: str, count: int) -> None:
    if count <= KEPT_FAULTS:
        name = f"{out.stem}.{hashlib.sha1(data).hexdigest()[:10]}"
        out.with_name(f"{name}.input").write_bytes(data)
        out.with_name(f"{name}.txt").write_text(why, encoding="utf-8")


def _memory() -> int:
    """Bytes that the process holds now."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # a system without /proc: the most it ever held
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    out, corpus, files = (Path(name) for name in sys.argv[4:7])
    run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), out, corpus, files)
