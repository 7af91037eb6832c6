"""The sets of PocketCompose: which LoRAs together, in which scene, asked for by which prompt, from which seeds.

A set has one character and at most one LoRA of each further category, k = 2 to 5 in all. The `test` sets are for
published tables; the `tuning` sets are others, for whatever is fitted: gates, gains, calibrations. `single` are sets of
one LoRA, any, in a few scenes: what it can do alone on its own prompt. The list is frozen in `sets.json`;
`python -m lora_loom.studio.testbed sets` drew it.
"""

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.pocket.concepts import CONCEPTS, concept, concept_caption
from lora_loom.studio.pocket.world.scene import Scene, sample_scene

CATEGORIES = ("character", "accessory", "style", "background", "object")  # the order of the paper of LoRA Switch
SIZES = (2, 3, 4, 5)
TEST_SETS, TUNING_SETS = 60, 20  # of each size
SINGLE_SCENES = 4  # of each LoRA alone
SEEDS = 16
PATH = Path(__file__).parent / "sets.json"

Part = Literal["test", "tuning", "single"]


@dataclass(frozen=True)
class LoraSet:
    """LoRAs that one picture is to show together; `scene` holds every named factor of that picture."""

    part: Part
    members: tuple[str, ...]  # in the order of CATEGORIES
    scene: Scene
    variant: int = 0  # tells apart the scenes of a single LoRA

    @property
    def name(self) -> str:
        return "+".join(self.members) + (f".{self.variant}" if self.part == "single" else "")

    @property
    def k(self) -> int:
        return len(self.members)

    @property
    def prompt(self) -> str:
        """The plain caption of the scene, with each concept as the trigger its LoRA was trained with."""
        return concept_caption(self.members[0], self.scene)

    @property
    def choices(self) -> tuple[AdapterChoice, ...]:
        """The LoRAs at the strength they were trained at."""
        return tuple(AdapterChoice(name) for name in self.members)

    @property
    def expected(self) -> dict[str, str]:
        """Factor -> concept, for every LoRA of the set."""
        return {concept(name).factor: name for name in self.members}

    def seeds(self, count: int = SEEDS) -> list[int]:
        """The first `count` of the set's fixed seeds."""
        return [_number(f"pocketcompose|{self.name}|{index}") for index in range(count)]


def draw_sets() -> list[LoraSet]:
    """All sets, of each size the test sets first. In every beginning of the list the LoRAs appear about equally often.

    The same world always gives the same list.
    """
    drawn: list[LoraSet] = []
    for k in SIZES:
        order = _balanced(_combinations(k), TEST_SETS + TUNING_SETS)
        drawn += [_with_scene("test" if i < TEST_SETS else "tuning", members) for i, members in enumerate(order)]
    return drawn + [_with_scene("single", (name,), i) for i in range(SINGLE_SCENES) for name in CONCEPTS]


def write_sets(path: Path = PATH) -> None:
    """Freeze `draw_sets()`: of a scene only the named factors are kept, as the rest does not enter a prompt."""
    held = [
        {"part": s.part, "members": s.members, "scene": s.scene.named()} | ({"variant": s.variant} if s.variant else {})
        for s in draw_sets()
    ]
    path.write_text("[\n" + ",\n".join(json.dumps(each) for each in held) + "\n]\n", encoding="utf-8")


@lru_cache(maxsize=1)
def frozen_sets() -> tuple[LoraSet, ...]:
    """The sets as they are frozen in the package."""
    held = json.loads(PATH.read_text(encoding="utf-8"))
    return tuple(
        LoraSet(each["part"], tuple(each["members"]), Scene(**each["scene"]), each.get("variant", 0)) for each in held
    )


def sets_of(part: Part, sizes: Sequence[int] = SIZES, at_most: int = TEST_SETS) -> list[LoraSet]:
    """The first `at_most` sets of each size."""
    found: list[LoraSet] = []
    for k in sizes:
        found += [each for each in frozen_sets() if each.part == part and each.k == k][:at_most]
    return found


def single_sets(scenes: int = SINGLE_SCENES) -> list[LoraSet]:
    """Every LoRA alone, in its first `scenes` scenes."""
    return [each for each in frozen_sets() if each.part == "single" and each.variant < scenes]


def as_row(each: LoraSet, seeds: Sequence[int]) -> dict[str, Any]:
    """A set as a row of a prompt file: prompt, LoRAs with strengths, seeds, and what a judge should see."""
    return {
        "id": each.name,
        "prompt": each.prompt,
        "seeds": list(seeds),
        "loras": [{"name": choice.name, "weight": choice.strength} for choice in each.choices],
        "expected": each.expected,
        "metadata": {"k": each.k, "part": each.part, "lora_set": each.name, "scene": each.scene.named()},
    }


def _combinations(k: int) -> list[tuple[str, ...]]:
    by_category = {c: [name for name in CONCEPTS if concept(name).category == c] for c in CATEGORIES}
    return [
        members
        for others in itertools.combinations(CATEGORIES[1:], k - 1)
        for members in itertools.product(*(by_category[c] for c in (CATEGORIES[0], *others)))
    ]


def _balanced(combinations: list[tuple[str, ...]], count: int) -> list[tuple[str, ...]]:
    """`count` of them, each time one whose LoRAs were used least so far; ties go by hash.

    A use counts by how many LoRAs the category has: a character has fewer turns than each of four accessories.
    """
    of_category = Counter(each.category for each in CONCEPTS.values())
    used = dict.fromkeys(CONCEPTS, 0)
    left = sorted(combinations, key=lambda members: _number("+".join(members)))
    chosen: list[tuple[str, ...]] = []
    while len(chosen) < count:
        best = min(left, key=lambda members: sum(used[name] for name in members))
        left.remove(best)
        for name in best:
            used[name] += of_category[concept(name).category]
        chosen.append(best)
    return chosen


def _with_scene(part: Part, members: tuple[str, ...], variant: int = 0) -> LoraSet:
    rng = np.random.default_rng(_number(f"scene|{'+'.join(members)}|{variant}"))
    fixed: dict[str, Any] = {concept(name).factor: name for name in members}
    return LoraSet(part, members, Scene(**_named(sample_scene(rng, place="centre", **fixed))), variant)


def _named(scene: Scene) -> dict[str, Any]:
    return dict(scene.named())


def _number(text: str) -> int:
    """A number in [0, 2^32) that depends on the text alone."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
