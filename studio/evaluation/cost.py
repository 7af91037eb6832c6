"""What pictures cost: seconds, denoiser passes per step, and memory, from the rows that say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from lora_loom.studio.evaluation.metric import Sample

FULL = "full"  # the kind of pass that runs the whole denoiser


@dataclass(frozen=True)
class Cost:
    """Means per picture, each None where no row tells.

    `passes_per_step` counts whole passes; `replays_per_step` those that reuse features or an older prediction.
    """

    seconds: float | None = None
    passes_per_step: float | None = None
    replays_per_step: float | None = None
    peak_memory_bytes: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        return asdict(self)


def cost_of(samples: Iterable[Sample]) -> Cost:
    """The mean cost of pictures; those whose row does not tell one are left out of that mean."""
    rows = [sample.row for sample in samples]
    passes = [found for found in map(_passes, rows) if found is not None]
    return Cost(
        seconds=_mean(row.get("seconds", row.get("latency")) for row in rows),
        passes_per_step=_mean(full for full, _ in passes),
        replays_per_step=_mean(replays for _, replays in passes),
        peak_memory_bytes=_mean(row.get("peak_memory_bytes") for row in rows),
    )


def _passes(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Whole passes and others per step."""
    steps, passes = row.get("num_inference_steps", row.get("steps")), row.get("passes")
    if not isinstance(steps, int) or steps < 1 or not isinstance(passes, Mapping) or not passes:
        return None
    total, full = sum(passes.values()), passes.get(FULL, 0)
    return full / steps, (total - full) / steps


def _mean(values: Iterable[Any]) -> float | None:
    numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return fmean(numbers) if numbers else None
