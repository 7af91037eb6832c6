"""Which passes run in full at which step, so that a run costs no more than allowed.

A run is planned in turns: how many of the N adapters compute their pass in full at each step, the others reusing an
earlier one. At the first step all do, as there is nothing to reuse. Costs are in full passes per step, on average.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

from lora_loom.pipelines.errors import SettingError

Turns = tuple[int, ...]  # adapters in full, for each step

# shares of a run and the steps between refreshes in them (arXiv:2502.04923, c1 = 2, c2 = 3)
RHYTHM = ((0.0, 0.375, 2), (0.375, 0.875, 3), (0.875, 1.0, 2))


def least_cost(adapters: int, num_inference_steps: int, *, share: float, reference: float) -> float:
    """What the first step and the reused passes cost by themselves; see `affordable`."""
    return reference + (adapters + (num_inference_steps - 1) * adapters * share) / num_inference_steps


def affordable(adapters: int, num_inference_steps: int, budget: float, *, share: float, reference: float) -> int:
    """Full passes of adapters that a budget leaves after the first step.

    A reused pass costs `share` of a full one, and `reference` is the cost per step of what always runs beside the
    adapters. Raises SettingError for a budget that the first step and the reused passes exceed by themselves.
    """
    n, steps = adapters, num_inference_steps
    least = least_cost(n, steps, share=share, reference=reference)
    if budget < least - 1e-9:
        raise SettingError(
            "the budget cannot be met",
            expected=f"at least {least:.2f} passes per step for {n} adapters in {steps} steps",
            found=f"{budget:g}",
            remedy="Allow more, take more steps or fewer adapters, or choose a method of one pass such as merge.",
        )
    return min(int((budget - least) * steps / (1 - share) + 1e-9), n * (steps - 1))


def evenly(adapters: int, num_inference_steps: int, full: int) -> Turns:
    """All at the first step and `full` passes spaced evenly over the others."""
    marks = [full * step // max(num_inference_steps - 1, 1) for step in range(num_inference_steps)]
    return adapters, *(after - before for before, after in pairwise(marks))


def rhythmically(adapters: int, num_inference_steps: int, full: int) -> Turns:
    """All at the first step and `full` passes over the others, as dense as the published rhythm is in each part."""
    density = [0.0]
    for step in range(1, num_inference_steps):
        density.append(next(1 / every for _, end, every in RHYTHM if step < end * num_inference_steps or end == 1.0))
    total = sum(density) or 1.0
    marks = [int(full * sofar / total + 1e-9) for sofar in accumulate(density)]
    turns = [min(after - before, adapters) for before, after in pairwise(marks)]
    return adapters, *turns


def published(adapters: int, num_inference_steps: int, interval: int) -> Turns:
    """One at every refresh and none in between: every `interval` steps, or in the published rhythm if that is 0.

    With an interval of 1 nothing is reused: all run at every step.
    """
    if interval == 1:
        return (adapters,) * num_inference_steps
    parts = RHYTHM if interval == 0 else ((0.0, 1.0, interval),)
    refreshes: set[int] = set()
    for start, end, every in parts:
        refreshes |= set(range(int(start * num_inference_steps), int(end * num_inference_steps), every))
    return adapters, *(int(step in refreshes) for step in range(1, num_inference_steps))


def rotation(turns: Turns, adapters: int) -> Turns:
    """How far the rotation has come at each step: by one for each pass in full, or by one where all run."""
    return tuple(accumulate((0 if step == 0 else turn if turn < adapters else 1) for step, turn in enumerate(turns)))
