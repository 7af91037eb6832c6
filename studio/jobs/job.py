"""Job: one request on its way to pictures, as it stands in the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lora_loom.pipelines.request import GenerationRequest

JobState = Literal["queued", "running", "done", "cancelled", "failed", "interrupted"]
JobPhase = Literal["waiting", "loading", "drawing", "saving", "finished"]
ENDED: tuple[JobState, ...] = ("done", "cancelled", "failed", "interrupted")


@dataclass(frozen=True)
class Job:
    """One job. Times are seconds since the epoch; `step` counts finished steps of `num_steps`.

    `error` holds the parts of a LoomError (`type`, `what`, `expected`, `found`, `remedy`) for a failed or
    interrupted job; `outputs` are file names in the output folder. `preview_serial` grows with every new preview
    picture. `person` is who asked for it where people log in.
    """

    id: str
    request: GenerationRequest
    state: JobState
    phase: JobPhase
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    step: int = 0
    num_steps: int = 0
    eta_seconds: float | None = None
    seconds_per_step: float | None = None
    error: Mapping[str, str] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    preview_serial: int = 0
    cancel_requested: bool = False
    person: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def progress(self) -> float:
        """Finished share of the steps, in [0, 1]."""
        return self.step / self.num_steps if self.num_steps else 0.0
