"""What a person is asked: every picture in an order of chance, for the concepts it should show and for others.

The others, as many again, keep a person honest who would say yes to everything, and tell how often a judge sees what
is not there. Nothing that is asked tells which method drew a picture, or which concepts were meant.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.cells import Cell, cells_of
from lora_loom.studio.evaluation.metadata import expected_of
from lora_loom.studio.evaluation.picture_set import Picture, PictureSet
from lora_loom.studio.pocket.concepts import CONCEPTS


@dataclass(frozen=True)
class Question:
    """A picture and the concepts to look for, by name in alphabetical order."""

    picture: Picture
    concepts: tuple[str, ...]


def questions(pictures: PictureSet, labeller: str) -> list[Question]:
    """The questions for one person, always in the same order for that person and in another for the next.

    Methods take turns, so that whoever stops early has seen about as many pictures of each. Raises EvaluationError
    where no picture says which concepts it should show.
    """
    asked = [picture for picture in pictures.pictures if _known(picture)]
    if not asked:
        raise EvaluationError(
            f"no picture in {pictures.path} says which concepts it should show",
            expected='"expected" in metadata.jsonl, as the suites of PocketCompose write it',
        )
    rng = random.Random(_number(labeller))
    turns: list[tuple[float, Picture]] = []
    for members in _cells(asked, pictures.path).values():
        order = rng.sample(members.pictures, len(members.pictures))
        turns += [((index + rng.random()) / len(order), picture) for index, picture in enumerate(order)]
    return [Question(picture, _concepts(picture)) for _, picture in sorted(turns, key=lambda turn: turn[0])]


def _cells(asked: Sequence[Picture], path: Path) -> dict[Cell, PictureSet]:
    return cells_of(PictureSet(path, tuple(asked)))


def _known(picture: Picture) -> bool:
    try:
        expected = expected_of(picture.sample)
    except EvaluationError:  # other suites expect other things
        return False
    return bool(expected) and all(name in CONCEPTS for name in expected.values())


def _concepts(picture: Picture) -> tuple[str, ...]:
    """The expected concepts and as many others, chosen by the picture's prompt, the same for every method."""
    expected = list(expected_of(picture.sample).values())
    others = sorted(name for name in CONCEPTS if name not in expected)
    rng = random.Random(_number(f"{picture.sample.pair_key}"))
    return tuple(sorted([*expected, *rng.sample(others, len(expected))]))


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
