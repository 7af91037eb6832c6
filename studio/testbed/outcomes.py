"""The outcomes of a run: every picture scored by every judge, gathered by contestant and size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lora_loom.studio.testbed.packing import lines_of
from lora_loom.studio.testbed.scoring import Score, Verdict, score
from lora_loom.studio.testbed.sets import LoraSet, frozen_sets

ALONE = "alone"  # the contestants alone.0, alone.1, ... are one control


@dataclass
class Cell:
    """All that one contestant drew for the sets of one size. Lists run over pictures, in the order of set and seed."""

    contestant: str
    k: int
    sets: list[LoraSet] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    scores: dict[str, list[Score]] = field(default_factory=dict)  # by judge
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)  # by judge
    shown: list[tuple[LoraSet, int, str]] = field(default_factory=list)  # set, picture's place above, JPEG in base64
    passes_per_step: list[float] = field(default_factory=list)  # by job
    seconds: list[float] = field(default_factory=list)  # of a picture, by job
    peak_memory_bytes: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def clusters(self) -> list[str]:
        return [asked.name for asked in self.sets]

    @property
    def keys(self) -> list[tuple[str, int]]:
        """What a picture is paired by."""
        return [(asked.name, seed) for asked, seed in zip(self.sets, self.seeds, strict=True)]

    def joint(self, judge: str) -> list[bool]:
        return [each.joint for each in self.scores[judge]]


@dataclass
class Outcomes:
    """The cells of a run by (contestant, k), and its clocked seconds of a picture by the same key."""

    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    clocked: dict[tuple[str, int], float] = field(default_factory=dict)
    sampling: set[tuple[int, float]] = field(default_factory=set)
    processors: set[str] = field(default_factory=set)

    @property
    def contestants(self) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.cells))

    @property
    def judges(self) -> list[str]:
        return sorted({judge for cell in self.cells.values() for judge in cell.scores})


def read(paths: Iterable[Path]) -> Outcomes:
    """The outcomes of packed runs. A job that is in several of them counts once, as in the last."""
    jobs: dict[tuple[str, ...], dict[str, Any]] = {}
    for path in paths:
        for job in lines_of(path):
            if "run" in job:
                continue
            key = ("clock", job["clock"], str(job["k"])) if "clock" in job else (job["contestant"], job["set"])
            jobs[key] = job
    known = {asked.name: asked for asked in frozen_sets()}
    outcomes = Outcomes()
    for job in jobs.values():
        if "clock" in job:
            if "seconds" in job:
                outcomes.clocked[job["clock"], job["k"]] = job["seconds"] / job["pictures"]
                outcomes.processors.add(job["processor"])
        else:
            _add(outcomes, job, known[job["set"]])
    return outcomes


def _add(outcomes: Outcomes, job: Mapping[str, Any], asked: LoraSet) -> None:
    name = job["contestant"].partition(".")[0] if job["contestant"].startswith(f"{ALONE}.") else job["contestant"]
    cell = outcomes.cells.setdefault((name, asked.k), Cell(name, asked.k))
    if "error" in job:
        cell.errors.append(f"{asked.name}: {job['error']}")
        return
    seeds: Sequence[int] = job["seeds"]
    outcomes.sampling.add(tuple(job["sampling"]))
    cell.shown += [(asked, len(cell.sets) + place, jpeg) for place, jpeg in enumerate(job["shown"])]
    cell.sets += [asked] * len(seeds)
    cell.seeds += seeds
    for judge, held in job["verdicts"].items():
        verdicts = [dict(zip(held["factors"], values, strict=True)) for values in held["values"]]
        if name == ALONE:  # what the one LoRA shows on the joint prompt
            only = asked.members[int(job["contestant"].removeprefix(f"{ALONE}."))]
            scores = [_of_one(score(asked, verdict), only) for verdict in verdicts]
        else:
            scores = [score(asked, verdict) for verdict in verdicts]
        cell.scores.setdefault(judge, []).extend(scores)
        cell.verdicts.setdefault(judge, []).extend(verdicts)
    if full := job["passes"].get("full"):
        cell.passes_per_step.append(full / job["sampling"][0])
        cell.seconds.append(job["seconds"] / len(seeds))
    cell.peak_memory_bytes = max(cell.peak_memory_bytes, job["peak_memory_bytes"])


def _of_one(every: Score, name: str) -> Score:
    return Score({name: every.shown[name]}, every.bound, every.kept)
