"""What a cached run is planned to cost is what it costs, forced refreshes included, and the late ones come in time."""

import itertools
from functools import partial

import pytest

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.plan import PassCosts
from lora_loom.pipelines.predictions.cache_turns import by_dominance, cost, full_passes, together, within
from lora_loom.pipelines.predictions.refresh import published


def executed(turns, members, max_age):
    """Full passes of a run that follows the plan with a cache of its own."""
    ran, full = {}, 0
    for step, each in enumerate(turns):
        for name in members:
            if name in each.full or name not in ran or step - ran[name] > max_age:
                ran[name] = step
                full += 1
    return full


def arrangements(n, max_age):
    members = tuple(f"m{k}" for k in range(n))
    yield members, True, partial(together, members, max_age=max_age)
    for late in (0, 1):
        yield members, False, partial(by_dominance, members[late:], members[:late], max_age=max_age)


def test_no_pass_is_forced_that_was_not_planned(subtests):
    for n, steps, interval, age in itertools.product((2, 3, 5), (1, 2, 12, 50), (0, 1, 2, 7, 60), (1, 5, 20)):
        for members, jointly, arrange in arrangements(n, age):
            with subtests.test(n=n, steps=steps, interval=interval, max_age=age, jointly=jointly):
                turns = arrange(published(n, steps, interval))
                assert full_passes(turns) == executed(turns, members, age)


@pytest.mark.long
def test_a_budget_is_kept_with_the_forced_passes_in_it(subtests):
    for n, steps, share, budget, age in itertools.product(
        (2, 3, 5), (1, 12, 50), (0.02, 0.3), (1.0, 1.3, 2.0, 6.0), (1, 5, 20)
    ):
        for members, jointly, arrange in arrangements(n, age):
            with subtests.test(
                n=n, steps=steps, costs=PassCosts(1.0, share), budget=budget, max_age=age, jointly=jointly
            ):
                planned = partial(
                    within, budget, arrange, n, steps, costs=PassCosts(1.0, share), reference=0.0, jointly=jointly
                )
                least = cost(arrange((n,) + (0,) * (steps - 1)), n, costs=PassCosts(1.0, share), reference=0.0)
                if least > budget:
                    with pytest.raises(SettingError, match="at least"):
                        planned()
                    continue
                full = executed(planned(), members, age)
                assert (full + share * (n * steps - full)) / steps <= budget + 1e-9


def test_a_budget_is_used(subtests):
    """What is left would not pay for another turn, where age forces nothing."""
    for _, jointly, arrange in arrangements(3, 100):
        with subtests.test(jointly=jointly):
            turns = within(1.3, arrange, 3, 50, costs=PassCosts(1.0, 0.04), reference=0.0, jointly=jointly)
            assert cost(turns, 3, costs=PassCosts(1.0, 0.04), reference=0.0) > 1.3 - 2 * 3 / 50


def test_the_late_one_runs_where_it_becomes_dominant():
    turns = by_dominance(("a", "b"), ("late",), published(3, 12, 0), 20)
    first = next(step for step, each in enumerate(turns) if each.dominant == "late")
    assert first == 7  # the first of at least 0.55 of 12
    assert "late" in turns[first].full


def test_all_are_refreshed_together():
    turns = together(("", "a", "b"), published(2, 24, 0), 20)
    assert {len(each.full) for each in turns} == {0, 3}
    assert [step for step, each in enumerate(turns) if each.full] == [0, 2, 4, 6, 8, 9, 12, 15, 18, 21, 23]
