"""Counted costs of methods on a model small enough to count in a test."""

import pytest

from studio.bench.counting import count
from studio.bench.loom_side import pipeline_around
from studio.bench.methods.costs import rows_of, spent
from studio.bench.denoisers import Bare
from studio.bench.random_loras import random_loras
from studio.bench.subjects import SKELETON


@pytest.fixture(scope="module")
def bare():
    model = SKELETON.build("meta")
    return Bare("Skeleton", pipeline_around(model), model, SKELETON.inputs("meta"), random_loras(model, 2, rank=2))


@pytest.fixture(scope="module")
def rows(bare):
    return {each["id"]: each for each in rows_of(bare, 4)}


def test_cmlora_costs_its_full_passes_and_the_shares_of_replays(rows):
    row = rows["M1.skeleton"]
    assert row["holds"]
    assert row["value"] < row["anchor"] == 2


def test_the_prediction_is_within_its_error(rows):
    assert rows["M2.skeleton"]["holds"]
    assert rows["M2.skeleton.spent"]["value"] <= 1.3 * 1.05


def test_composite_costs_a_forward_for_each_adapter(bare):
    base = count(lambda: bare.model(**bare.inputs)).flops
    cost, run = spent(bare, "composite", {}, 2, base)
    assert run.passes == {"full": 4}
    assert 2.0 < cost < 2.2


def test_the_shares_are_those_of_sdxl(rows):
    assert rows["M0.skeleton"]["value"] == pytest.approx(0.05, abs=0.04)
