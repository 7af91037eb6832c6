"""Cache turns: for every step of a run, whose pass runs in full and who is dominant, with the forced ones counted.

Steps are counted as shares of a run, as the released code of arXiv:2502.04923 counts them (step 120 of 220), whatever
the noise level. At the first step all run. A pass whose features would be older than `max_age` steps runs again; these
passes are part of the plan, so that what is planned is what is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.plan import PassCosts
from lora_loom.pipelines.predictions.refresh import Turns, rhythmically

SWITCH_AT = 0.55  # of the steps: the code changes phase at step 120 of 220 or 200


@dataclass(frozen=True)
class CacheStep:
    """The members that run in full at a step, the dominant one, and the number of refreshes so far, from 0."""

    full: frozenset[str]
    dominant: str
    refresh: int


CacheTurns = tuple[CacheStep, ...]


def together(members: Sequence[str], turns: Turns, max_age: int) -> CacheTurns:
    """All members in full at every step with a turn and after `max_age` steps without one."""
    steps: list[CacheStep] = []
    last = refresh = 0
    for step, turn in enumerate(turns):
        due = step == 0 or turn > 0 or step - last > max_age
        if due:
            last, refresh = step, refresh + 1
        steps.append(CacheStep(frozenset(members if due else ()), members[0], refresh - 1))
    return tuple(steps)


def by_dominance(high: Sequence[str], low: Sequence[str], turns: Turns, max_age: int) -> CacheTurns:
    """As many members in full as each step has turns, the next of the pool first and dominant.

    The pool is `high` before `SWITCH_AT` and `low` after it; if either is empty, all. The first of `low` runs in full
    at the step where it becomes dominant, so that nobody leads from the features of the first step.
    """
    everyone, n = (*high, *low), len(high) + len(low)
    switch = next((step for step in range(1, len(turns)) if low and high and step / len(turns) >= SWITCH_AT), None)
    ran = dict.fromkeys(everyone, 0)
    pointer, refresh = 0, -1
    steps: list[CacheStep] = []
    for step, asked in enumerate(turns):
        turn = max(asked, 1) if step == switch else asked
        if turn:
            refresh += 1
        if step == switch:
            pointer = 0
        elif step and turn:
            pointer += turn if turn < n else 1
        pool = (low if switch is not None and step >= switch else high) or everyone
        order = dict.fromkeys((*(pool[(pointer - k) % len(pool)] for k in range(len(pool))), *everyone))
        aged = {name for name in everyone if step - ran[name] > max_age}
        full = frozenset(everyone if step == 0 else {*tuple(order)[:turn], *aged})
        ran |= dict.fromkeys(full, step)
        steps.append(CacheStep(full, next(iter(order)), refresh))
    return tuple(steps)


def full_passes(turns: CacheTurns) -> int:
    """Passes in full over the run."""
    return sum(len(each.full) for each in turns)


def cost(turns: CacheTurns, passes: int, *, costs: PassCosts, reference: float) -> float:
    """Forwards per step of the `passes`, in full or reused; `reference` is what runs beside."""
    full = full_passes(turns)
    return reference + (costs.full * full + costs.replayed * (passes * len(turns) - full)) / len(turns)


def within(
    budget: float,
    arrange: Callable[[Turns], CacheTurns],
    members: int,
    num_inference_steps: int,
    *,
    costs: PassCosts,
    reference: float,
    jointly: bool,
) -> CacheTurns:
    """The arrangement with the most refreshes, in the published rhythm, that costs at most `budget` per step.

    All members run at a turn if they are refreshed `jointly`, else one. Raises SettingError where the first step, the
    reused passes and those that age forces cost more by themselves.
    """
    at_once = members if jointly else 1

    def spent(turns: CacheTurns) -> float:
        return cost(turns, members, costs=costs, reference=reference)

    forced = arrange((members,) + (0,) * (num_inference_steps - 1))
    least = spent(forced)
    if budget < least - 1e-9:
        raise SettingError(
            "the budget cannot be met",
            expected=f"at least {least:.2f} forwards per step for {members} passes in {num_inference_steps} steps",
            found=f"{budget:g}",
            remedy="Allow more, a larger max_age, more steps, fewer adapters, or a method of one pass as merge.",
        )
    spare = (budget - reference - costs.replayed * members) * num_inference_steps
    left = spare / max(costs.full - costs.replayed, 1e-6) - members
    refreshes = min(int(left / at_once + 1e-9), members // at_once * (num_inference_steps - 1))
    while refreshes > 0:
        found = arrange(rhythmically(members // at_once, num_inference_steps, refreshes))
        if spent(found) <= budget + 1e-9:
            return found
        refreshes -= 1
    return forced
