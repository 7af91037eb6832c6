"""Counted costs of methods on a model small enough to count in a test."""

import pytest

from lora_loom.studio.bench.counting import count
from lora_loom.studio.bench.denoisers import Bare
from lora_loom.studio.bench.loom_side import pipeline_around
from lora_loom.studio.bench.methods.costs import rows_of, spent
from lora_loom.studio.bench.random_loras import random_loras
from lora_loom.studio.bench.subjects import TINY

pytestmark = pytest.mark.long

BUDGET = 1.8


@pytest.fixture(scope="module")
def bare():
    model = TINY.build("meta")
    return Bare("Tiny", pipeline_around(model), model, TINY.inputs("meta"), random_loras(model, 2, rank=2))


def test_costs_are_those_of_the_plan(bare):
    rows = {each["id"]: each for each in rows_of(bare, 4, BUDGET)}
    assert rows["M1.tiny"]["holds"]
    assert rows["M1.tiny"]["value"] < rows["M1.tiny"]["anchor"] == 3  # the base is a pass of its own
    assert rows["M2.tiny"]["holds"]
    assert rows["M2.tiny.spent"]["value"] <= BUDGET * 1.05
    assert 0 < rows["M0.tiny"]["value"] < 1


def test_composite_costs_a_forward_for_each_adapter(bare):
    base = count(lambda: bare.model(**bare.inputs)).flops
    cost, run = spent(bare, "composite", {}, 2, base)
    assert run.passes == {"full": 4}
    assert 2.0 < cost < 2.2
