"""The stage: the picture as it forms, how far it is and how long it takes, and the finished pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lora_loom.pipelines.registry import methods
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.templates import render
from lora_loom.studio.ui.markup import data_url, file_url


def stage(
    job: Job | None,
    elsewhere: Job | None = None,
    *,
    preview: bytes | None,
    waiting: int,
    picture_path: Callable[[str], Path | None],
    ahead: int = 0,
) -> str:
    """The stage as HTML. `preview` is the running job's picture, `picture_path` finds an output's file by name.

    `waiting` jobs are queued in all, `ahead` of this one; `elsewhere` is one that another page began.
    """
    if job is None:
        return render("ui/stage.html.j2", job=None, elsewhere=elsewhere)
    if job.ended:
        return _ended(job, elsewhere, picture_path)
    return _running(job, preview, waiting, ahead)


def duration(seconds: float) -> str:
    """Seconds in words as short as they can be: 0.8 s, 12 s, 3 min 20 s, 1 h 5 min."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _running(job: Job, preview: bytes | None, waiting: int, ahead: int) -> str:
    return render(
        "ui/stage.html.j2",
        job=job,
        preview=data_url("webp", preview) if preview else None,
        doing=_doing(job, ahead),
        left=_left(job),
        summary=_summary(job),
        queue=f"{waiting} more waiting" if waiting and job.state == "running" else "",
    )


def _doing(job: Job, ahead: int) -> str:
    if job.cancel_requested:
        return "Stopping…"
    if job.state == "queued":
        return f"Waiting for {ahead} pictures before it" if ahead > 1 else "Waiting for the picture before it"
    if job.phase == "loading":
        return "Getting the model and the LoRAs ready…"
    return "Saving…" if job.phase == "saving" else f"Step {job.step} of {job.num_steps}"


def _left(job: Job) -> str:
    if job.phase == "drawing" and job.eta_seconds is not None and not job.cancel_requested:
        return f"about {duration(job.eta_seconds)} left"
    if job.started_at is not None:
        return duration(time.time() - job.started_at)
    return ""


def _summary(job: Job) -> str:
    method = methods().get(job.request.method)
    count = len(job.request.adapters)
    loras = "no LoRA" if not count else "1 LoRA" if count == 1 else f"{count} LoRAs"
    return f"{method.title if method else job.request.method} · {loras} · seed {job.request.seed}"


def _ended(job: Job, elsewhere: Job | None, picture_path: Callable[[str], Path | None]) -> str:
    found = [(name, file_url(path)) for name in job.outputs if (path := picture_path(name))]
    taken = duration(job.finished_at - job.started_at) if job.finished_at and job.started_at else ""
    outcome = _outcome(job)
    return render(
        "ui/stage.html.j2",
        job=job,
        pictures=found if job.state == "done" else [],
        outcome=outcome,
        done=f"Done in {taken}" if job.state == "done" else outcome,
        summary=_summary(job),
        elsewhere=elsewhere,
    )


def _outcome(job: Job) -> str:
    if job.state == "cancelled":
        return f"Cancelled at step {job.step} of {job.num_steps}" if job.step else "Cancelled before it began"
    if job.state == "interrupted":
        return "Interrupted: the studio stopped while this picture was being made"
    return "This picture could not be made" if job.state == "failed" else "The pictures of this job are gone"
