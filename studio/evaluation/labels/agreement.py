"""How far a judge agrees with people, computed anew from their labels and the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.feature_cache import pixel_hash
from lora_loom.studio.evaluation.kappa import cohens_kappa
from lora_loom.studio.evaluation.labels.book import Answer
from lora_loom.studio.evaluation.picture_set import PictureSet
from lora_loom.studio.evaluation.resampling import proportion_interval
from lora_loom.studio.pocket.concepts import CONCEPTS

Look = Callable[[NDArray[np.uint8]], Sequence[Mapping[str, str]]]  # pictures [n h w 3] -> value of every factor
BATCH = 64


@dataclass(frozen=True)
class Reading:
    """One concept on one picture: what the person said and what the judge saw."""

    pixels_sha256: str
    labeller: str
    concept: str
    person: bool
    judge: bool


def readings(answers: Sequence[Answer], pictures: PictureSet, look: Look) -> list[Reading]:
    """The judge's verdicts beside the labels of the same pixels; raises EvaluationError if none of them is here."""
    wanted = {answer.pixels_sha256 for answer in answers}
    seen: dict[str, Mapping[str, str]] = {}
    for hashes, pixels in _batches(pictures, wanted):
        seen |= dict(zip(hashes, look(pixels), strict=True))
    if not seen:
        raise EvaluationError(
            f"none of the labelled pictures is in {pictures.path}",
            expected="the folder that was labelled",
            found=f"{len(wanted)} labelled pictures, {len(pictures)} others",
        )
    return [
        Reading(answer.pixels_sha256, answer.labeller, name, person, _sees(seen[answer.pixels_sha256], name))
        for answer in answers
        if answer.pixels_sha256 in seen
        for name, person in answer.present.items()
        if name in CONCEPTS
    ]


def rows_of(found: Sequence[Reading]) -> list[dict[str, Any]]:
    """Agreement, kappa, sensitivity and specificity over all concepts, then for each."""
    concepts = sorted({reading.concept for reading in found})
    groups = {"all": list(found)} | {name: [r for r in found if r.concept == name] for name in concepts}
    rows: list[dict[str, Any]] = []
    for name, members in groups.items():
        there = [r for r in members if r.person]
        absent = [r for r in members if not r.person]
        kappa = cohens_kappa([str(r.person) for r in members], [str(r.judge) for r in members])
        parts = {
            "agreement": [(r, r.person == r.judge) for r in members],
            "sensitivity": [(r, r.judge) for r in there],
            "specificity": [(r, not r.judge) for r in absent],
        }
        for what, outcomes in parts.items():
            if not outcomes:
                continue
            held = [holds for _, holds in outcomes]
            low, high = proportion_interval(held, [r.pixels_sha256 for r, _ in outcomes])
            row = {"concept": name, "what": what, "value": sum(held) / len(held), "ci_low": low, "ci_high": high}
            rows.append({**row, "n": len(held), **({"kappa": kappa} if what == "agreement" else {})})
    return rows


def between_people(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Agreement and kappa of every two people on what both were asked about."""
    by_person: dict[str, dict[tuple[str, str], bool]] = {}
    for answer in answers:
        own = by_person.setdefault(answer.labeller, {})
        own |= {(answer.pixels_sha256, name): there for name, there in answer.present.items()}
    rows: list[dict[str, Any]] = []
    people = sorted(by_person)
    for index, first in enumerate(people):
        for second in people[index + 1 :]:
            shared = sorted(by_person[first].keys() & by_person[second].keys())
            if not shared:
                continue
            a, b = ([str(by_person[person][key]) for key in shared] for person in (first, second))
            same = sum(x == y for x, y in zip(a, b, strict=True)) / len(shared)
            rows.append(
                {"people": f"{first} and {second}", "value": same, "kappa": cohens_kappa(a, b), "n": len(shared)}
            )
    return rows


def _sees(verdict: Mapping[str, str], name: str) -> bool:
    return verdict.get(CONCEPTS[name].factor) == name


def _batches(pictures: PictureSet, wanted: set[str]) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
    """Hashes and pixels [n h w 3] of the wanted pictures, of one size at a time."""
    waiting: dict[tuple[int, ...], list[tuple[str, NDArray[np.uint8]]]] = {}
    for picture in pictures.pictures:
        pixels = picture.pixels()
        key = pixel_hash(pixels)
        if key not in wanted:
            continue
        held = waiting.setdefault(pixels.shape, [])
        held.append((key, pixels))
        if len(held) == BATCH:
            yield [key for key, _ in held], np.stack([one for _, one in held])
            held.clear()
    for held in waiting.values():
        if held:
            yield [key for key, _ in held], np.stack([one for _, one in held])
