"""Adapters take turns in running, as often as the budget allows and never more."""

import pytest

from pipelines.errors import SettingError
from pipelines.refresh import refreshes

EVERYONE = frozenset(range(3))


@pytest.mark.parametrize("budget", [0.0, 4.0, 10.0])
def test_without_a_limit_all_run_at_every_step(budget):
    assert refreshes(3, 5, budget) == (EVERYONE,) * 5


@pytest.mark.parametrize("steps", [1, 7, 20, 50])
@pytest.mark.parametrize("budget", [1.6, 2.0, 2.5, 3.3])
def test_the_budget_is_kept_and_used(steps, budget):
    if budget < 1 + 3 / steps:
        pytest.skip("too little for the first step")
    turns = refreshes(3, steps, budget)
    spent = steps + sum(len(each) for each in turns)
    assert len(turns) == steps
    assert turns[0] == EVERYONE
    assert budget * steps - 1 < spent <= budget * steps + 1e-6


def test_adapters_take_equal_turns():
    later = [index for turn in refreshes(3, 16, 2.15)[1:] for index in sorted(turn)]
    assert [later.count(index) for index in range(3)] == [5, 5, 5]


def test_a_budget_below_the_first_step_is_refused():
    with pytest.raises(SettingError, match=r"at least 1\.30 passes per step for 3 adapters in 10 steps"):
        refreshes(3, 10, 1.2)
