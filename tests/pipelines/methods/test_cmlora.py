"""CMLoRA runs its published cache: who is dominant, what is replayed, how the weights decay, what it costs."""

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest
import torch

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.measured.frequency import FrequencySets
from lora_loom.pipelines.methods.cmlora import CMLoRA
from lora_loom.pipelines.plan import Replay, StepState
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

CHOICES = tuple(AdapterChoice(name) for name in ("fox", "ink", "fog"))
MEAN = partial(CMLoRA, contributions="mean")
SETS = FrequencySets(high=("ink", "fox"), low=("fog",))


def steps_of(plan, steps):
    states = [StepState(index, steps, index / steps, 0.0, torch.zeros(1)) for index in range(steps)]
    return [list(plan.schedule(state)) for state in states]


def full(passes):
    return [next(iter(each.gates)) for each in passes if each.reuse == "full"]


def dominant(passes):
    return next(iter(max(passes, key=lambda each: each.weight).gates))


def test_the_dominant_one_is_refreshed_and_the_pools_change_in_the_middle():
    plan = MEAN(interval=2)._plan(CHOICES, 20, SETS)
    steps = steps_of(plan, 20)
    assert full(steps[0]) == ["fox", "ink", "fog"]
    assert [full(each) for each in steps[1:11]] == [[], ["fox"], [], ["ink"], [], ["fox"], [], ["ink"], [], ["fox"]]
    assert [full(each) for each in steps[11:]] == [["fog"], ["fog"], [], ["fog"], [], ["fog"], [], ["fog"], []]
    assert [dominant(each) for each in steps[:6]] == ["ink", "ink", "fox", "fox", "ink", "ink"]
    assert dominant(steps[19]) == "fog"


def test_the_weight_of_the_dominant_one_decays_to_the_mean():
    steps = steps_of(MEAN(interval=1)._plan(CHOICES, 8, SETS), 8)
    weights = [max(each.weight for each in passes) for passes in steps]
    assert weights == [1 + 1.5 / 2**k for k in range(8)]
    shares = [each.weight / sum(other.weight for other in steps[0]) for each in steps[0]]
    assert sorted(shares) == pytest.approx([0.222, 0.222, 0.556], abs=1e-3)  # the published mix of three


def test_an_empty_set_leaves_all_to_the_other():
    only_high = steps_of(MEAN(interval=2)._plan(CHOICES, 20, FrequencySets(("ink", "fox", "fog"), ())), 20)
    assert full(only_high[18]) == ["ink"]
    only_low = steps_of(MEAN(interval=2)._plan(CHOICES, 20, FrequencySets((), ("ink", "fox", "fog"))), 20)
    assert full(only_low[2]) == ["fox"]


@pytest.mark.parametrize(("branch", "contributions", "passes"), [(0, "mean", 9), (1, "arbitrated", 12)])
def test_an_interval_of_one_is_no_cache_bit_for_bit(pipe, adapters, draw, branch, contributions, passes, per_call):
    plan = CMLoRA(interval=1, branch=branch, contributions=contributions).plan(CHOICES, 3)
    with fused(pipe, plan, adapters) as run:
        found = draw(pipe)
    assert per_call(run.passes) == {"full": passes}

    settled = replace(plan.settle(pipe, adapters) if plan.settle else plan, at_cost=None)
    assert settled.replay == Replay(branch, 20)
    with fused(pipe, replace(settled, replay=None), adapters):
        assert torch.equal(draw(pipe), found)


def test_what_is_counted_is_what_was_planned(pipe, adapters, draw, per_call):
    plan = CMLoRA(max_age=1).plan(CHOICES, 6)
    planned = Counter(each.reuse for passes in steps_of(plan, 6) for each in passes)
    assert planned["replay"] >= 4
    with fused(pipe, plan, adapters) as run:
        draw(pipe, num_inference_steps=6)
    assert per_call(run.passes) == planned
    assert run.cost == pytest.approx(run.predicted_cost)
    assert run.cost > planned["full"] / 6  # replays are counted, too


def test_a_replay_is_not_the_full_pass(pipe, adapters, draw, error_of):
    def drawn(**settings):
        with fused(pipe, CMLoRA(**settings).plan(CHOICES, 4), adapters):
            return draw(pipe, num_inference_steps=4)

    exact, cached, outputs = drawn(interval=1), drawn(), drawn(reuse="outputs")
    assert error_of(cached, exact) > 1e-4
    assert error_of(outputs, exact) > 1e-4
    assert error_of(cached, outputs) > 1e-4


@pytest.mark.parametrize("budget", [3.6, 4.2])
def test_a_budget_is_kept_as_predicted(pipe, adapters, draw, budget, per_call):
    plan = CMLoRA(budget=budget).plan(CHOICES, 6)
    with fused(pipe, plan, adapters) as run:
        draw(pipe, num_inference_steps=6)
    assert run.cost == pytest.approx(run.predicted_cost)
    assert budget - 4 * run._costs.full / 6 <= run.cost <= budget + 1e-9
    assert sum(per_call(run.passes).values()) == 24


def test_a_budget_for_outputs_counts_the_pass_they_follow(pipes, three_adapters, draw):
    plan = CMLoRA(budget=2.0, reuse="outputs").plan(CHOICES, 6)
    with fused(pipes("sd15"), plan, three_adapters("sd15")) as run:
        draw(pipes("sd15"), num_inference_steps=6)
    assert run.passes == {"full": 12, "delta": 12}
    assert run.cost == plan.predicted_cost == 2.0


def test_a_budget_that_cannot_be_met_says_what_can(pipes, three_adapters, draw):
    plan = CMLoRA(budget=0.2).plan(CHOICES, 6)
    with fused(pipes("sd15"), plan, three_adapters("sd15")), pytest.raises(SettingError, match="at least"):
        draw(pipes("sd15"), num_inference_steps=6)


def test_a_set_by_hand_must_name_what_was_chosen():
    with pytest.raises(SettingError, match="cat, which was not chosen"):
        MEAN(low_frequency="fog, cat").plan(CHOICES, 6)
    steps = steps_of(MEAN(interval=2, low_frequency="fog").plan(CHOICES, 20), 20)
    assert full(steps[18]) == ["fog"]


@pytest.mark.parametrize(("contributions", "same"), [("sum", "delta_sum"), ("arbitrated", "arbiter")])
def test_with_everything_computed_contributions_are_added_to_the_base(
    pipes, three_adapters, draw, error_of, contributions, same
):
    pipe, adapters = pipes("sd15"), three_adapters("sd15")

    def drawn(method):
        with fused(pipe, method.plan(CHOICES, 3), adapters):
            return draw(pipe)

    reference = create(same, {"where": "output", "budget": 4.0} if same == "arbiter" else {})
    assert error_of(drawn(CMLoRA(interval=1, contributions=contributions)), drawn(reference)) <= 1e-5


def test_all_passes_are_refreshed_together_and_the_base_is_one():
    for passes in steps_of(CMLoRA(interval=3).plan(CHOICES, 12), 12):
        assert passes[0].gates == {}
        assert len({each.reuse for each in passes}) == 1


@pytest.mark.long
def test_the_planned_cost_is_the_spent_one_whatever_the_age(pipes, three_adapters, draw, subtests):
    for settings in (
        {"budget": 4.6, "max_age": 2},
        {"interval": 60, "max_age": 1},
        {"reuse": "outputs", "interval": 2},
    ):
        for contributions in ("mean", "sum"):
            with subtests.test(contributions=contributions, **settings):
                plan = CMLoRA(contributions=contributions, **settings).plan(CHOICES, 7)
                with fused(pipes("sd15"), plan, three_adapters("sd15")) as run:
                    draw(pipes("sd15"), num_inference_steps=7)
                assert run.cost == pytest.approx(run.predicted_cost)
