"""Which adapters compute their contribution anew at which step, so that a run costs no more passes than allowed."""

from __future__ import annotations

from pipelines.errors import SettingError


def refreshes(adapters: int, num_inference_steps: int, budget: float) -> tuple[frozenset[int], ...]:
    """For each step the adapters that run in full beside the one pass that always does; the others reuse a delta.

    `budget` is the most passes per step, on average over the run; 0 is no limit. All run at the first step, then they
    take turns, evenly spaced. Raises SettingError for a budget below the 1 + N / T that the first step alone needs.
    """
    everyone = frozenset(range(adapters))
    if budget == 0 or budget >= 1 + adapters:
        return (everyone,) * num_inference_steps
    least = 1 + adapters / num_inference_steps
    spare = (budget - least) * num_inference_steps + 1e-9
    if spare < 0:
        raise SettingError(
            "the budget cannot be met",
            expected=f"at least {least:.2f} passes per step for {adapters} adapters in {num_inference_steps} steps",
            found=f"{budget:g}",
            remedy="Allow more, take more steps or fewer adapters, or choose a method of one pass such as merge.",
        )
    turns: list[frozenset[int]] = [everyone]
    taken = 0
    for step in range(1, num_inference_steps):
        until = int(spare * step / (num_inference_steps - 1))
        turns.append(frozenset(turn % adapters for turn in range(taken, until)))
        taken = until
    return tuple(turns)
