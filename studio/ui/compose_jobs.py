"""The drawing of the Compose tab: a job is started or stopped, and the page hears how far it is and what came of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_loom.pipelines.requests.prompt_syntax import prompt_notices
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.ui.banner import error_banner, notice_banner
from lora_loom.studio.ui.compose_layout import ComposeLayout
from lora_loom.studio.ui.compose_views import ComposeViews, Viewer
from lora_loom.studio.ui.form import random_seed, read_form
from lora_loom.studio.ui.stack import StackRow
from lora_loom.studio.ui.workspace import Workspace

Updates = dict[Any, Any]


@dataclass(frozen=True)
class Shown:
    """What the page knows of the jobs: those that had not ended when it last looked, and a signature of the view."""

    watched: tuple[str, ...] = ()
    signature: str = ""


class JobEvents:
    """The handlers; `names` are those of the form's fields, in the order in which their values come."""

    def __init__(self, view: ComposeLayout, workspace: Workspace, views: ComposeViews, names: Sequence[str]) -> None:
        self.view, self.workspace, self.views, self.names = view, workspace, views, names
        self.shown = gr.State(Shown())

    @property
    def outputs(self) -> list[Any]:
        """The components that the handlers change."""
        view = self.view
        return [view.stage, view.cancel, view.timer, self.shown, view.gallery, view.banner]

    def generate(self, stacked: list[StackRow], viewer: Viewer, shown: Shown, *fields: Any) -> Updates:
        values = dict(zip(self.names, fields, strict=True))
        if values["new_seed"]:
            values["seed"] = random_seed()
        request = read_form(values, stacked, self.workspace.studio.base_model)
        job = self.workspace.submit(request)
        news = self._news(Shown((*shown.watched, job.id)), viewer)
        notices = prompt_notices(values["prompt"] or "")
        said = notice_banner("The prompt was not read whole", notices, warning=True) if notices else ""
        return {self.view.banner: said, self.view.controls["seed"]: request.seed, **news}

    def cancel(self, viewer: Viewer, shown: Shown) -> Updates:
        job = self.workspace.store.latest()
        if job and not job.ended:
            self.workspace.worker.cancel(job.id)
        return self._news(shown, viewer)

    def ticked(self, shown: Shown, viewer: Viewer) -> Updates:
        """What is new since the last tick; nothing is sent where nothing is."""
        updates = self._news(shown, viewer)
        return updates if updates[self.shown] != shown else {self.shown: shown}

    def _news(self, shown: Shown, viewer: Viewer) -> Updates:
        """The latest job on the stage, and for every watched job that has ended its pictures or its error."""
        jobs = [job for job in map(self.workspace.store.get, shown.watched) if job]
        updates = self.shows(self.workspace.store.latest(), tuple(job.id for job in jobs if not job.ended))
        if any(job.ended for job in jobs):
            updates[self.view.gallery] = self.views.gallery(viewer)
        if errors := [job.error for job in jobs if job.ended and job.error]:
            updates[self.view.banner] = error_banner(errors[-1])
        return updates

    def shows(self, job: Job | None, watched: tuple[str, ...] = ()) -> Updates:
        """The stage for `job`, which is watched too from now on if it has not ended."""
        busy = job is not None and not job.ended
        if job is not None and busy:
            watched = tuple(dict.fromkeys((*watched, job.id)))
        waiting = self.workspace.store.waiting()
        parts = (job.id, job.state, job.phase, job.step, job.preview_serial, job.cancel_requested) if job else ()
        return {
            self.view.stage: self.views.stage(job),
            self.view.cancel: gr.Button(interactive=job is not None and busy and not job.cancel_requested),
            self.view.timer: gr.Timer(active=bool(watched)),
            self.shown: Shown(watched, json.dumps((*parts, waiting))),
        }
