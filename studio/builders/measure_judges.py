"""Measure both judges: `python -m lora_loom.studio.builders.measure_judges --work DIR`.

Accuracy per factor and shift, abstention on strangers, calibration, the geometric check beside them, and agreement on
pictures of the base. Parts are kept in DIR, so that an interrupted run goes on. Writes
`docs/results/pocket_judges.json`.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lora_loom.studio.builders.known_pictures import STRANGE, Known, known_pictures
from lora_loom.studio.builders.labelled import Pictures, labelled
from lora_loom.studio.evaluation.kappa import agreement, cohens_kappa, expected_calibration_error
from lora_loom.studio.pocket.geometry import LATTICES, shows_pattern, silhouette
from lora_loom.studio.pocket.judge import CLASSES, JUDGED, OTHER, Judge, sealed_judge, shipped_judge
from lora_loom.studio.results import Row, proportion, write_results

ACCURACY_LINE, KAPPA_LINE = 0.99, 0.9
RESAMPLES = 1000
JUDGES: dict[str, Callable[[], Judge]] = {"development": shipped_judge, "sealed": sealed_judge}


def with_interval(statistic: Callable[[NDArray[np.intp]], float], n: int, line: float | None, **keys: str) -> Row:
    """A row for a statistic of the pictures with these numbers, with a bootstrap interval over pictures."""
    rng = np.random.default_rng(0)
    drawn = [statistic(rng.integers(n, size=n)) for _ in range(RESAMPLES)]
    low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975)))
    value = statistic(np.arange(n))
    row: Row = {**keys, "value": round(value, 4), "ci_low": round(low, 4), "ci_high": round(high, 4), "n": n}
    return {**row, "line": line, "holds": None if line is None else value >= line}


def accuracies(name: str, judge: Judge, known: Known) -> Iterator[Row]:
    found = judge.verdicts(known.pictures)
    right = np.array(
        [
            [v[f] == CLASSES[f][k] for f, k in zip(JUDGED, y, strict=True)]
            for v, y in zip(found, known.labels, strict=True)
        ]
    )
    line = ACCURACY_LINE if known.shift == "fresh" else None
    for i, factor in enumerate(JUDGED):
        yield proportion(right[:, i].tolist(), line=line, what="accuracy", judge=name, shift=known.shift, factor=factor)
    every = [all(row) for row in right.tolist()]
    yield proportion(every, line=None, what="accuracy", judge=name, shift=known.shift, factor="all")


def calibration(name: str, judge: Judge, known: Known) -> Iterator[Row]:
    probabilities = judge.probabilities(known.pictures)
    for i, factor in enumerate(JUDGED):
        sure = probabilities[factor].max(1)
        right = probabilities[factor].argmax(1) == known.labels[:, i]
        yield with_interval(
            lambda rows, sure=sure, right=right: expected_calibration_error(sure[rows], right[rows]),
            len(sure),
            None,
            what="calibration error",
            judge=name,
            shift=known.shift,
            factor=factor,
        )


def abstentions(name: str, judge: Judge, work: Path, count: int) -> Iterator[Row]:
    for factor, pool in STRANGE.items():
        found = judge.verdicts(labelled(work, pool, count)[0])
        yield proportion(
            [v[factor] == OTHER for v in found],
            line=None,
            what="abstention",
            judge=name,
            shift="strangers",
            factor=factor,
        )


def geometric(known: Known) -> Iterator[Row]:
    """How often geometry says something, how often it is then right, and how well it sees the regular patterns."""
    seen = [silhouette(picture) for picture in known.pictures]
    pairs = [(s, scene) for s, scene in zip(seen, known.scenes, strict=True) if s is not None]
    counted = [
        ("says something", "subject", [s is not None for s in seen]),
        ("accuracy", "subject", [s.subject == t.subject for s, t in pairs]),
        ("accuracy", "colour", [s.colour == t.colour for s, t in pairs]),
    ]
    for pattern in LATTICES:
        truth = [pattern in (scene.style, scene.background) for scene in known.scenes]
        shown = [shows_pattern(picture, pattern) for picture in known.pictures]
        counted.append(("sensitivity", pattern, [s for s, t in zip(shown, truth, strict=True) if t]))
        counted.append(("specificity", pattern, [not s for s, t in zip(shown, truth, strict=True) if not t]))
    for what, factor, outcomes in counted:
        if outcomes:  # none of these pictures may show a pattern
            yield proportion(outcomes, line=None, what=what, factor=factor, judge="geometry", shift=known.shift)


def known_rows(work: Path, count: int) -> list[Row]:
    rows: list[Row] = []
    for known in known_pictures(work, count):
        for name, judge in JUDGES.items():
            rows += accuracies(name, judge(), known)
            if known.shift == "fresh":
                rows += calibration(name, judge(), known)
        if known.shift == "fresh":
            part = Known(known.shift, known.pictures[:200], known.labels[:200], known.scenes[:200])
            rows += geometric(part)
    for name, judge in JUDGES.items():
        rows += abstentions(name, judge(), work, 100)
    return rows


def generated(folder: Path, steps: int, count: int) -> dict[str, Pictures]:
    """By shift, `count` pictures of the base and a few with each LoRA, of those that the other measures drew."""
    paths = sorted(folder.glob(f"*_with_{steps}.npy"))
    base = folder / f"seen_{steps}.npy"
    if not base.exists() or not paths:
        raise SystemExit(
            f"no pictures of {steps} steps in {folder}: run measure_base and measure_adapters with that --work first"
        )
    with_lora = np.concatenate([np.load(path)[: max(1, count // len(paths))] for path in paths])
    return {"generated by the base": np.load(base)[:count], "generated with a LoRA": with_lora}


def agreement_rows(shift: str, pictures: Pictures) -> list[Row]:
    """Cohen's kappa between the judges by factor, and of each with what geometry says where it says something."""
    read = {name: judge().verdicts(pictures) for name, judge in JUDGES.items()}
    seen = [silhouette(picture) for picture in pictures]

    def kappa(a: Sequence[str], b: Sequence[str], line: float | None, factor: str, between: str) -> list[Row]:
        left, right = np.array(a), np.array(b)
        same = (left == right).tolist()
        return [
            with_interval(
                lambda rows: cohens_kappa(left[rows].tolist(), right[rows].tolist()),
                len(left),
                line,
                what="kappa",
                judge=between,
                factor=factor,
                shift=shift,
            ),
            proportion(same, line=None, what="agreement", judge=between, factor=factor, shift=shift),
        ]

    rows: list[Row] = pooled_rows(shift, *read.values())
    for f in JUDGED:
        one, other = ([v[f] for v in read[name]] for name in JUDGES)
        rows += kappa(one, other, KAPPA_LINE, f, "development and sealed")
    said = [(i, s) for i, s in enumerate(seen) if s is not None]
    for name in JUDGES if said else ():
        for f in ("subject", "colour"):
            rows += kappa(
                [read[name][i][f] for i, _ in said], [getattr(s, f) for _, s in said], None, f, f"{name} and geometry"
            )
    return rows


def pooled_rows(shift: str, one: Sequence[Mapping[str, str]], other: Sequence[Mapping[str, str]]) -> list[Row]:
    """Kappa and agreement over all verdicts of both judges, whatever the factor; the interval draws whole pictures."""
    left, right = (np.array([[f"{f}: {v[f]}" for f in JUDGED] for v in side]) for side in (one, other))  # [n factors]
    keys = {"judge": "development and sealed", "factor": "every verdict", "shift": shift}

    def of(statistic: Callable[[Sequence[str], Sequence[str]], float]) -> Callable[[NDArray[np.intp]], float]:
        return lambda rows: statistic(left[rows].ravel().tolist(), right[rows].ravel().tolist())

    return [
        with_interval(of(cohens_kappa), len(left), KAPPA_LINE, what="kappa", **keys),
        with_interval(of(agreement), len(left), None, what="agreement", **keys),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder where pictures and finished parts are kept")
    parser.add_argument("--count", type=int, default=600, help="fresh renders; of the other shifts as many or half")
    parser.add_argument("--drawn", type=Path, required=True, help="--work of measure_base and measure_adapters")
    parser.add_argument("--generated", type=int, default=100, help="pictures of the base, and as many with LoRAs")
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    arguments.work.mkdir(parents=True, exist_ok=True)
    part = arguments.work / f"judges_{arguments.count}.json"
    if not part.exists():
        part.write_text(json.dumps(known_rows(arguments.work, arguments.count)))
    drawn = generated(arguments.drawn, arguments.steps, arguments.generated)
    rows = [*json.loads(part.read_text()), *(r for s, p in drawn.items() for r in agreement_rows(s, p))]
    command = (
        f"python -m lora_loom.studio.builders.measure_judges --work DIR --drawn DIR --count {arguments.count}"
        f" --generated {arguments.generated} --steps {arguments.steps}"
    )
    write_results("pocket_judges", command, rows)


if __name__ == "__main__":
    main()
