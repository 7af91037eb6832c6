"""Influence is the share of the prediction that an adapter changed, over the steps of a run."""

import pytest

from lora_loom.pipelines.measured.influence import Influence, probe_points


def test_the_overall_share_is_the_mean_over_all_steps():
    assert Influence.of({0: 0.4, 1: 0.2}, [], 2).overall == pytest.approx(0.3)


def test_a_step_nobody_looked_at_is_as_the_one_before():
    seen = Influence.of({1: 0.4, 3: 0.2}, [], 5)
    assert seen.overall == pytest.approx((0.4 + 0.4 + 0.4 + 0.2 + 0.2) / 5)
    assert seen.steps == {1: 0.4, 3: 0.2}


def test_a_step_at_which_it_was_shut_counts_as_nothing():
    turn = Influence.of({2: 0.6}, [0, 1, 4, 5], 6)
    assert turn.overall == pytest.approx(2 * 0.6 / 6)
    assert turn.steps == {0: 0.0, 1: 0.0, 2: 0.6, 4: 0.0, 5: 0.0}


def test_runs_are_averaged_step_by_step():
    mean = Influence.mean([Influence({0: 0.2, 1: 0.4}, 0.3), Influence({0: 0.4}, 0.4)])
    assert mean.steps == pytest.approx({0: 0.3, 1: 0.4})
    assert mean.overall == pytest.approx(0.35)


def test_as_json_it_has_four_digits():
    assert Influence({3: 0.123456}, 0.65432).to_dict() == {"overall": 0.6543, "steps": [[3, 0.1235]]}


def test_probes_cost_about_a_tenth(subtests):
    for steps, adapters, points in [(20, 2, 2), (20, 3, 1), (50, 3, 3), (1000, 1, 3), (4, 3, 0)]:
        with subtests.test(steps=steps, adapters=adapters, points=points):
            assert probe_points(steps, adapters) == points
            assert points * adapters / 2 <= 0.15 * steps
