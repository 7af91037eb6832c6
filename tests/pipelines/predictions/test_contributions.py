"""Contributions are differences to the base, decided on the conditional half, laid out as the picture is."""

import pytest
import torch

from lora_loom.pipelines.plan import Predictions, StepState
from lora_loom.pipelines.predictions.contributions import (
    at_places,
    conditional_half,
    contribution_plan,
    contributions,
    energy,
    for_both_halves,
    smoothed,
)
from lora_loom.pipelines.request import AdapterChoice


def predictions(noise_preds, **more):
    return Predictions(noise_preds, torch.ones(len(noise_preds)), passes=(), state=None, **more)


def state(index):
    return StepState(index, 10, index / 10, 0.0, torch.zeros(1))


def test_contributions_are_the_differences_to_the_first_pass():
    eps = torch.randn(3, 2, 4, 5, 6)
    base, deltas = contributions(predictions(eps))
    assert torch.equal(base, eps[0])
    assert torch.equal(deltas, torch.stack([eps[1] - eps[0], eps[2] - eps[0]]))


def test_the_second_half_of_a_guided_batch_decides_for_both():
    guided = predictions(torch.randn(2, 4, 1, 1, 1), halves=2)
    values = torch.arange(8.0).view(2, 4)
    decided = conditional_half(guided, values)
    assert decided.tolist() == [[2, 3], [6, 7]]
    assert for_both_halves(guided, decided).tolist() == [[2, 3, 2, 3], [6, 7, 6, 7]]


def test_a_call_for_the_negative_prompt_follows_the_call_before():
    memory = {}
    first = predictions(torch.randn(2, 1, 1, 1, 1), memory=memory)
    second = predictions(torch.randn(2, 1, 1, 1, 1), memory=memory, conditional=False)
    assert for_both_halves(first, torch.tensor([[1.0]])).tolist() == [[1.0]]
    assert for_both_halves(second, torch.tensor([[5.0]])).tolist() == [[1.0]]


@pytest.mark.parametrize("packed", [False, True])
def test_energy_and_places_keep_the_layout_of_the_picture(packed):
    deltas = torch.randn(2, 1, 4, 5, 6)
    given = deltas.flatten(-2).transpose(-1, -2) if packed else deltas  # [n b (h w) c] as FLUX
    of = predictions(given, grid=(5, 6) if packed else None)
    e = energy(of, given)
    assert torch.allclose(e, deltas.square().mean(dim=2))
    weighted = at_places(of, e) * given
    expected = e.unsqueeze(2) * deltas
    assert torch.allclose(weighted, expected.flatten(-2).transpose(-1, -2) if packed else expected)


def test_smoothing_is_the_mean_of_the_places_around_within_the_picture():
    maps = torch.zeros(1, 1, 4, 6)
    maps[..., 0, 0] = 1.0
    smooth = smoothed(maps, 3)
    assert smooth[0, 0, 0, 0] == pytest.approx(1 / 4)  # a corner has four places around it
    assert smooth[0, 0, 1, 1] == pytest.approx(1 / 9)
    assert torch.allclose(smoothed(torch.ones(2, 1, 4, 6), 5), torch.ones(2, 1, 4, 6))
    assert torch.equal(smoothed(maps, 1), maps)
    assert smoothed(torch.ones(1, 1, 1, 9), 5).shape == (1, 1, 1, 9)  # one row of tokens


def test_the_plan_is_the_base_and_each_adapter_alone():
    plan = contribution_plan([AdapterChoice("fox", 0.9), AdapterChoice("ink", -0.5)], 10, contributions)
    passes = plan.schedule(state(3))
    assert [dict(each.gates) for each in passes] == [{}, {"fox": 0.9}, {"ink": -0.5}]
    assert [dict(gates) for gates in plan.text_passes] == [{}, {"fox": 0.9}, {"ink": -0.5}]
    assert {each.reuse for each in passes} == {"full"}


def test_one_adapter_is_its_own_plain_pass():
    plan = contribution_plan([AdapterChoice("fox", 0.9)], 10, contributions, budget=1.0)
    assert [dict(each.gates) for each in plan.schedule(state(0))] == [{"fox": 0.9}]


def test_a_budget_lets_adapters_take_turns():
    plan = contribution_plan([AdapterChoice("fox"), AdapterChoice("ink")], 10, contributions, budget=2.0)
    reuse = [[each.reuse for each in plan.schedule(state(index))] for index in range(10)]
    assert reuse[0] == ["full", "full", "full"]
    assert sum(each.count("full") for each in reuse) == 20
    assert plan.schedule(state(99)) == plan.schedule(state(9))  # a run of more steps than planned goes on
