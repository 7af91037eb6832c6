"""Influence: how much of the prediction each adapter changed, step by step, so that one that did nothing shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Influence:
    """Of one adapter: ||eps - eps_without|| / ||eps||, with eps_without the prediction that lacks it, all else alike.

    `steps` maps the index of a step to that share, 0 where the adapter was shut; steps that nobody looked at are left
    out. `overall` is its mean over all steps of the run, each unseen one taken for the nearest seen one before it.
    """

    steps: Mapping[int, float]
    overall: float

    @classmethod
    def of(cls, steps: Mapping[int, float], shut: Iterable[int], num_steps: int) -> Influence:
        """From the shares seen, the steps at which the adapter was shut, and the number of steps taken."""
        closed = set(shut)
        known = {**dict.fromkeys(closed, 0.0), **steps}
        seen = [index for index in sorted(steps) if index not in closed]
        total = 0.0
        for index in range(num_steps):
            if index in known:
                total += known[index]
            elif seen:
                total += steps[max((each for each in seen if each <= index), default=seen[0])]
        return cls(dict(sorted(known.items())), total / max(num_steps, 1))

    @classmethod
    def mean(cls, of_runs: list[Influence]) -> Influence:
        """The mean over several runs, step by step."""
        indices = sorted({index for each in of_runs for index in each.steps})
        steps: dict[int, float] = {}
        for index in indices:
            found = [each.steps[index] for each in of_runs if index in each.steps]
            steps[index] = sum(found) / len(found)
        return cls(steps, sum(each.overall for each in of_runs) / len(of_runs))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, to four digits: {"overall": 0.21, "steps": [[0, 0.31], [1, 0.28]]}."""
        return {
            "overall": float(f"{self.overall:.4g}"),
            "steps": [[index, float(f"{share:.4g}")] for index, share in self.steps.items()],
        }


def probe_points(num_inference_steps: int, adapters: int) -> int:
    """How many steps to probe so that probes cost about a tenth of a guided run, at most three; 0 for very short ones.

    A probe computes one half of guidance, with one adapter left out.
    """
    return min(3, int(0.2 * num_inference_steps / max(adapters, 1) + 0.5))
