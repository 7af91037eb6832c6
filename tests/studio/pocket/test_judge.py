"""The shipped judges know true pictures, say 'other' to what is none, and do not mind the size."""

import numpy as np
import pytest

from lora_loom.studio.builders.labelled import Pool, one_picture
from lora_loom.studio.pocket.judge import CLASSES, JUDGED, OTHER, Judge, sealed_judge, shipped_judge
from lora_loom.studio.pocket.world.scene import FACTORS, HELD

COUNT = 80
POOL = Pool("test_judge", 7702)
JUDGES = {"development": shipped_judge, "sealed": sealed_judge}


@pytest.fixture(params=list(JUDGES))
def judge(request: pytest.FixtureRequest) -> Judge:
    return JUDGES[request.param]()


@pytest.fixture(scope="module")
def fresh() -> tuple[np.ndarray, np.ndarray]:
    drawn = [one_picture(POOL, i) for i in range(COUNT)]
    return np.stack([p for p, _ in drawn]), np.stack([y for _, y in drawn])


def _shares(judge: Judge, pictures: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    found = judge.verdicts(pictures)
    return {
        f: np.mean([v[f] == CLASSES[f][k] for v, k in zip(found, labels[:, i], strict=True)])
        for i, f in enumerate(JUDGED)
    }


@pytest.mark.parametrize(("name", "least"), [("development", 0.95), ("sealed", 0.9)])
@pytest.mark.long
def test_it_is_right_on_fresh_renders(name: str, least: float, fresh: tuple[np.ndarray, np.ndarray]) -> None:
    for factor, share in _shares(JUDGES[name](), *fresh).items():
        assert share >= least, factor


def test_other_sizes_are_resized(judge: Judge, fresh: tuple[np.ndarray, np.ndarray]) -> None:
    pictures, labels = fresh
    shares = _shares(judge, pictures[:40, ::2, ::2], labels[:40])
    assert shares["background"] >= 0.9
    assert shares["subject"] >= 0.75


def test_noise_is_other(judge: Judge) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 128, 128, 3)).astype(np.uint8)
    assert np.mean([v["subject"] == OTHER for v in judge.verdicts(noise)]) >= 0.9


def test_every_factor_is_known_and_has_a_temperature(judge: Judge) -> None:
    assert {f: tuple(v) for f, v in judge.spec.classes.items()} == CLASSES
    assert set(judge.spec.temperatures) == set(JUDGED)


def test_the_two_are_of_different_kinds() -> None:
    assert shipped_judge().spec.architecture != sealed_judge().spec.architecture


def test_classes_hold_every_value_and_other() -> None:
    for factor in JUDGED:
        assert set(CLASSES[factor]) == {*FACTORS[factor], *HELD.get(factor, ()), OTHER}
