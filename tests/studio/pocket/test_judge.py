"""The shipped judge knows true pictures, says 'other' to what is none, and does not mind the size."""

import numpy as np
import pytest

from studio.pocket.judge import CLASSES, JUDGED, OTHER, Judge, shipped_judge
from studio.pocket.world.render import render
from studio.pocket.world.scene import FACTORS, HELD, Scene, posed


@pytest.fixture(scope="module")
def judge() -> Judge:
    return shipped_judge()


def _scenes(judge: Judge, count: int) -> list[Scene]:
    rng = np.random.default_rng(77)
    values = {f: (*v, *HELD.get(f, ())) for f, v in FACTORS.items() if f in judge.spec.classes or f == "place"}
    return [posed(Scene(**{f: str(rng.choice(v)) for f, v in values.items()}), rng) for _ in range(count)]


def _pictures(scenes: list[Scene], size: int = 64) -> np.ndarray:
    return np.stack([np.round(render(scene, size).image * 255).astype(np.uint8) for scene in scenes])


def test_it_is_right_on_fresh_renders(judge: Judge) -> None:
    scenes = _scenes(judge, 120)
    found = judge.verdicts(_pictures(scenes))
    for factor in judge.spec.classes:
        assert np.mean([v[factor] == getattr(s, factor) for v, s in zip(found, scenes, strict=True)]) >= 0.96


def test_other_sizes_are_resized(judge: Judge) -> None:
    scenes = _scenes(judge, 20)
    found = judge.verdicts(_pictures(scenes, 128))
    assert np.mean([v["background"] == s.background for v, s in zip(found, scenes, strict=True)]) >= 0.9


def test_noise_is_other(judge: Judge) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3)).astype(np.uint8)
    assert np.mean([v["subject"] == OTHER for v in judge.verdicts(noise)]) >= 0.9


def test_classes_hold_every_value_and_other() -> None:
    for factor in JUDGED:
        assert set(CLASSES[factor]) == {*FACTORS[factor], *HELD.get(factor, ()), OTHER}
