"""Cheats lose before both judges: what does not compose must score far below an honest picture."""

import functools

import numpy as np
import pytest

from lora_loom.studio.pocket.judge import Judge, sealed_judge, shipped_judge
from lora_loom.studio.testbed.ceilings import true_renders
from lora_loom.studio.testbed.cheats import CHEATS
from lora_loom.studio.testbed.scoring import score
from lora_loom.studio.testbed.sets import LoraSet, sets_of

pytestmark = pytest.mark.long

SEEDS = 2
JUDGES = {"development": shipped_judge, "sealed": sealed_judge}


@pytest.fixture(scope="module", params=JUDGES)
def judge(request: pytest.FixtureRequest) -> Judge:
    return JUDGES[request.param]()


@pytest.fixture(scope="module")
def sets(judge: Judge) -> list[LoraSet]:
    """Some of each size, of factors that the shipped judge knows."""
    known = [each for each in sets_of("test") if set(each.expected) <= set(judge.spec.classes)]
    return [each for k in (2, 3, 4, 5) for each in [s for s in known if s.k == k][:10]]


@functools.cache
def _cheated(cheat: str, name: str) -> np.ndarray:
    """The pictures of a cheat, drawn once for both judges."""
    asked = next(each for each in sets_of("test") if each.name == name)
    return np.stack([CHEATS[cheat](asked, seed, 128) for seed in asked.seeds(SEEDS)])


def _joint(judge: Judge, sets: list[LoraSet], pictures: list[np.ndarray]) -> float:
    verdicts = judge.verdicts(np.concatenate(pictures))
    asked = [each for each in sets for _ in range(SEEDS)]
    return float(np.mean([score(each, verdict).joint for each, verdict in zip(asked, verdicts, strict=True)]))


def test_true_renders_win(judge: Judge, sets: list[LoraSet]) -> None:
    assert _joint(judge, sets, [true_renders(each, each.seeds(SEEDS), 128) for each in sets]) >= 0.9


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_loses(cheat: str, judge: Judge, sets: list[LoraSet]) -> None:
    assert _joint(judge, sets, [_cheated(cheat, each.name) for each in sets]) <= 0.1
