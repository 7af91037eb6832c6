"""A score counts what is there, and an abstention as a failure."""

import pytest

from lora_loom.studio.pocket.world.scene import Scene
from lora_loom.studio.testbed.scoring import composition_gap, product_of_singles, score
from lora_loom.studio.testbed.sets import LoraSet

SCENE = Scene("owlet", "blue", "striped", "crown", "sea", "ink", companion="ball")
ASKED = LoraSet("test", ("owlet", "crown"), SCENE)
TRUTH = SCENE.named()


def test_a_perfect_verdict_is_joint_bound_and_preserved() -> None:
    found = score(ASKED, TRUTH)
    assert (found.joint, found.bound, found.preserved) == (True, True, 1.0)
    assert set(found.kept) == {"texture", "background", "style", "companion"}


def test_one_lost_concept_loses_the_joint(subtests: pytest.Subtests) -> None:
    for factor, value in [("subject", "cat"), ("subject", "other"), ("accessory", "none")]:
        with subtests.test(factor=factor, value=value):
            found = score(ASKED, {**TRUTH, factor: value})
            assert not found.joint
            assert sum(found.shown.values()) == 1
            assert found.preserved == 1


def test_colour_and_background_are_told_apart_from_the_concepts() -> None:
    found = score(ASKED, {**TRUTH, "colour": "red", "background": "night"})
    assert found.joint
    assert not found.bound
    assert found.preserved == 0.75


def test_a_judge_that_does_not_know_a_factor_counts_as_a_failure() -> None:
    known = {factor: value for factor, value in TRUTH.items() if factor != "accessory"}
    assert score(ASKED, known).shown == {"owlet": True, "crown": False}


def test_the_gap_is_the_joint_over_the_mean_product_of_the_singles() -> None:
    assert product_of_singles(ASKED, {"owlet": 0.5, "crown": 0.8}) == pytest.approx(0.4)
    assert composition_gap(0.3, [0.4, 0.8]) == pytest.approx(0.5)
    assert composition_gap(0.0, [0.0]) is None
