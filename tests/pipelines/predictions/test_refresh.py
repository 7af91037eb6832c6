"""Adapters take turns in running in full, as often as the budget allows and never more."""

import itertools

import pytest

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.predictions.refresh import affordable, evenly, published, rhythmically, rotation


def cost(turns, n, share, reference):
    full = sum(turns)
    return reference + (full + share * (n * len(turns) - full)) / len(turns)


def test_the_budget_is_kept_and_used(subtests):
    n, costs = 3, [(0.0, 1.0), (0.05, 0.0), (0.3, 0.0)]
    spreads, lengths, budgets = [evenly, rhythmically], [1, 2, 7, 20, 50], [1.6, 2.0, 3.3, 100.0]
    for spread, steps, budget, (share, reference) in itertools.product(spreads, lengths, budgets, costs):
        with subtests.test(spread=spread.__name__, steps=steps, budget=budget, share=share, reference=reference):
            if budget < reference + (n + (steps - 1) * n * share) / steps:
                with pytest.raises(SettingError, match="at least"):
                    affordable(n, steps, budget, share=share, reference=reference)
                continue
            turns = spread(n, steps, affordable(n, steps, budget, share=share, reference=reference))
            spent = cost(turns, n, share, reference)
            assert len(turns) == steps
            assert turns[0] == n
            assert max(turns) <= n
            assert spent <= budget + 1e-6
            assert spent > budget - 1 / steps or spent == pytest.approx(n + reference) or spread is rhythmically


def test_even_turns_are_evenly_spaced():
    assert evenly(3, 9, 4) == (3, 0, 1, 0, 1, 0, 1, 0, 1)


def test_the_published_rhythm_refreshes_at_0_417_of_the_steps():
    turns = published(3, 200, 0)
    assert sum(1 for turn in turns if turn) == 85  # what the released code's schedule gives
    assert [step for step, turn in enumerate(published(3, 24, 0)) if turn] == [0, 2, 4, 6, 8, 9, 12, 15, 18, 21, 23]


def test_a_rhythm_is_as_dense_as_the_published_one():
    turns = rhythmically(3, 240, 100)
    assert sum(turns[1:]) == 100
    assert sum(turns[1:90]) / sum(turns[90:210]) == pytest.approx((90 / 2) / (120 / 3), rel=0.1)


def test_an_interval_of_one_computes_everything():
    assert published(3, 4, 1) == (3, 3, 3, 3)
    assert published(3, 5, 2) == (3, 0, 1, 0, 1)


def test_the_rotation_advances_with_every_full_pass():
    assert rotation((3, 0, 1, 0, 2, 3), 3) == (0, 0, 1, 1, 3, 4)


def test_a_budget_below_the_first_step_is_refused():
    with pytest.raises(SettingError, match=r"at least 1\.30 passes per step for 3 adapters in 10 steps"):
        affordable(3, 10, 1.2, share=0.0, reference=1.0)
