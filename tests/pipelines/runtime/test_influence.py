"""What an adapter changed is read from passes that keep adapters apart, and probed where one pass opens all."""

from dataclasses import replace

import pytest
import torch

from lora_loom.pipelines.plan import Predictions
from lora_loom.pipelines.registry import create, parsed
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

CHOICES = [AdapterChoice("fox", 0.9), AdapterChoice("ink", 0.5), AdapterChoice("fog", 0.7)]
NAMES = {"fox", "ink", "fog"}
APART = ("composite", "delta_sum", "arbiter:where=output", "cmlora")


@pytest.fixture
def predicted(adapters, draw):
    """The combined prediction of the first step, its conditional half, and the run."""

    def run(pipe, method, choices, probes=None, **call):
        plan = create(*parsed(method)).plan(choices, 3)
        seen = []

        def combine(predictions: Predictions):
            seen.append(plan.combine(predictions)[predictions.deciding])
            return plan.combine(predictions)

        with fused(pipe, replace(plan, combine=combine), adapters, probes=probes) as fusion:
            draw(pipe, **call)
        return next(iter(seen), None), fusion  # a plan that is settled at the start brings its own combination

    return run


@pytest.mark.parametrize("family", ["sd15", "flux"])
@pytest.mark.parametrize("method", ["merge", "composite", "delta_sum"])
def test_the_share_is_that_of_leaving_the_adapter_out(pipe, method, predicted):
    """At the first step all runs start from one sample, so the prediction without one is that of a run without it."""
    eps, run = predicted(pipe, method, CHOICES, probes=1, num_inference_steps=1)
    assert set(run.influence) == NAMES
    for left_out in CHOICES:
        without, _ = predicted(pipe, method, [each for each in CHOICES if each != left_out], num_inference_steps=1)
        expected = ((eps - without).norm() / eps.norm()).item()
        assert run.influence[left_out.name].steps[0] == pytest.approx(expected, rel=1e-3)
        assert expected > 1e-3


@pytest.mark.parametrize("family", ["sd15"])
@pytest.mark.parametrize("method", APART)
def test_passes_that_keep_adapters_apart_tell_for_free(pipe, method, predicted):
    _, run = predicted(pipe, method, CHOICES, probes=0)
    assert {name: list(each.steps) for name, each in run.influence.items()} == {name: [0, 1, 2] for name in NAMES}
    assert run.passes["probe"] == 0
    assert all(each.overall > 0 for each in run.influence.values())


@pytest.mark.parametrize("family", ["sd15"])
def test_one_pass_is_probed_at_a_few_steps(pipe, predicted):
    _, run = predicted(pipe, "merge", CHOICES, probes=2, num_inference_steps=6)
    assert {name: list(each.steps) for name, each in run.influence.items()} == {name: [1, 3] for name in NAMES}
    assert run.passes == {"full": 6, "probe": 6}


@pytest.mark.parametrize("family", ["sd15"])
def test_an_adapter_that_has_its_turn_is_probed_in_it(pipe, predicted):
    _, run = predicted(pipe, "switch", CHOICES, probes=1, num_inference_steps=12)
    assert {name: next(k for k, share in each.steps.items() if share) for name, each in run.influence.items()} == {
        "fox": 1,
        "ink": 5,
        "fog": 10,
    }
    assert run.influence["fog"].overall == pytest.approx(run.influence["fog"].steps[10] * 2 / 12)


@pytest.mark.parametrize("family", ["sd15"])
def test_one_that_does_nothing_shows(pipe, predicted):
    _, run = predicted(pipe, "merge", [*CHOICES[:2], AdapterChoice("fog", 0.0)], probes=1)
    assert run.influence["fog"].overall == 0.0
    assert run.influence["fox"].overall > 1e-3


@pytest.mark.parametrize("family", ["sd15"])
def test_one_that_acts_on_the_text_alone_shows(pipe, adapters, draw):
    words = replace(adapters["fox"], denoiser={})
    plan = create("merge").plan(CHOICES[:2], 3)
    with fused(pipe, plan, {**adapters, "fox": words}, probes=1) as run:
        draw(pipe)
    assert run.influence["fox"].overall > 1e-4


@pytest.mark.parametrize("family", ["sd15"])
def test_it_is_free_while_adapters_are_apart_and_probed_where_they_act_together(pipe, predicted):
    _, run = predicted(pipe, "arbiter:where=both;budget=2.0", CHOICES, probes=1, num_inference_steps=3)
    assert {name: list(each.steps) for name, each in run.influence.items()} == {name: [0, 1] for name in NAMES}
    assert run.passes == {"full": 6, "probe": 3}


@pytest.mark.parametrize("method", ["merge", "composite", "switch", "arbiter", "arbiter:where=regions"])
def test_looking_changes_nothing(pipe, method, adapters, draw):
    def drawn(probes):
        with fused(pipe, create(*parsed(method)).plan(CHOICES, 3), adapters, probes=probes):
            return draw(pipe)

    assert torch.equal(drawn(2), drawn(None))


def test_nobody_asked_nobody_is_told(pipe, predicted):
    _, run = predicted(pipe, "composite", CHOICES)
    assert run.influence == {}
