"""The drawing of the Compose tab: a job is started or stopped, and the page hears how far it is and what came of it.

A page shows and stops the jobs that it began; those of other tabs and people only count as pictures before its own. The
browser keeps the ids for as long as the tab is there (own_tab.js), so that a reload finds them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from lora_loom.pipelines.requests.prompt_syntax import prompt_notices
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.ui.api import person_of
from lora_loom.studio.ui.banner import error_banner, notice_banner
from lora_loom.studio.ui.compose_layout import ComposeLayout
from lora_loom.studio.ui.compose_views import ComposeViews, Filters, Viewer
from lora_loom.studio.ui.controls import proportions_of
from lora_loom.studio.ui.events import STORAGE_SECRET, pressed
from lora_loom.studio.ui.form import random_seed, read_form
from lora_loom.studio.ui.stack import StackRow
from lora_loom.studio.ui.workspace import Workspace

Updates = dict[Any, Any]


MOST_JOBS = 200  # ids that a browser may bring back


@dataclass(frozen=True)
class Shown:
    """What a page knows of its jobs: those that had not ended when it last looked, in the order in which they were
    begun, the one on the stage, and a signature of the view.
    """

    watched: tuple[str, ...] = ()
    last: str = ""
    signature: str = ""

    @property
    def kept(self) -> list[str]:
        """The ids for the browser to keep."""
        return list(dict.fromkeys(filter(None, (self.last, *self.watched))))


class JobEvents:
    """The handlers; `names` are those of the form's fields, in the order in which their values come."""

    def __init__(self, view: ComposeLayout, workspace: Workspace, views: ComposeViews, names: Sequence[str]) -> None:
        self.view, self.workspace, self.views, self.names = view, workspace, views, names
        self.shown = gr.State(Shown())
        self.kept = gr.BrowserState([], storage_key="loom.jobs", secret=STORAGE_SECRET)

    @property
    def outputs(self) -> list[Any]:
        """The components that the handlers change."""
        view = self.view
        return [view.stage, view.cancel, view.timer, self.shown, self.kept, view.gallery, view.banner]

    @property
    def told(self) -> list[Any]:
        """The components that a tick changes."""
        return [*self.outputs, self.view.stack, self.view.shelf]

    def generate(
        self, asker: gr.Request | None, stacked: list[StackRow], viewer: Viewer, shown: Shown, *fields: Any
    ) -> Updates:
        values = dict(zip(self.names, fields, strict=True))
        if values["new_seed"]:
            values["seed"] = random_seed()
        request = read_form(values, stacked, self.workspace.studio.base_model)
        job = self.workspace.submit(request, person_of(asker))
        news = self._news(replace(shown, watched=(*shown.watched, job.id)), viewer, asker)
        notices = prompt_notices(values["prompt"] or "")
        said = notice_banner("The prompt was not read whole", notices, warning=True) if notices else ""
        return {self.view.banner: said, self.view.controls["seed"]: request.seed, **news}

    def cancel(self, asker: gr.Request | None, viewer: Viewer, shown: Shown) -> Updates:
        """Stop the job on the stage, one of this page."""
        job = on_stage(self._jobs(shown))
        if job and not job.ended:
            self.workspace.worker.cancel(job.id)
        return self._news(shown, viewer, asker)

    def adopted(self, asker: gr.Request | None, viewer: Viewer, shown: Shown, event: gr.EventData) -> Updates:
        """The person wants to see here, and to be able to stop, a picture that another tab of theirs began."""
        if pressed(event, "action") != "adopt":
            return {}
        job = self.workspace.store.get(pressed(event, "name"))
        if job is None or job.person != person_of(asker):
            return {}
        return self._news(replace(shown, watched=(*shown.watched, job.id)), viewer, asker)

    def ticked(
        self,
        asker: gr.Request | None,
        shown: Shown,
        viewer: Viewer,
        stacked: Sequence[StackRow],
        filters: Filters,
        prompt: str,
        method: str,
        width: object,
        height: object,
    ) -> Updates:
        """What is new since the last tick; nothing is sent where nothing is.

        Which LoRAs of the stack act only in part is known when a picture has loaded them, so it is told at its end.
        """
        updates = self._news(shown, viewer, asker)
        if updates[self.shown] == shown:
            return {self.shown: shown}
        if self.view.gallery in updates and self.workspace.studio.in_part().keys() & {one.name for one in stacked}:
            updates[self.view.stack] = self.views.stack(stacked, prompt, method, proportions_of(width, height))
            updates[self.view.shelf] = self.views.shelf(stacked, filters)
        return updates

    def opened(self, asker: gr.Request | None, kept: object) -> Updates:
        """The stage of a page that was opened, or loaded again with the ids that the browser kept."""
        ids = [each for each in kept if isinstance(each, str)][:MOST_JOBS] if isinstance(kept, list) else []
        jobs = self._jobs(Shown(tuple(dict.fromkeys(ids))))  # perhaps of who was logged in here before
        return self._shows([job for job in jobs if job.person == person_of(asker)], asker)

    def _jobs(self, shown: Shown) -> list[Job]:
        """The jobs of the page: the one on the stage first, if it has ended."""
        return [job for job in map(self.workspace.store.get, shown.kept) if job]

    def _news(self, shown: Shown, viewer: Viewer, asker: gr.Request | None) -> Updates:
        """The page's job on its stage, and for every watched job that has ended its pictures or its error."""
        jobs = self._jobs(shown)  # looked up once: what ends in between is told at the next tick
        ended = [job for job in jobs if job.ended and job.id in shown.watched]
        updates = self._shows(jobs, asker)
        if ended:
            updates[self.view.gallery] = self.views.gallery(viewer)
        if errors := [job.error for job in ended if job.error]:
            updates[self.view.banner] = error_banner(errors[-1])
        return updates

    def _shows(self, jobs: Sequence[Job], asker: gr.Request | None) -> Updates:
        """The stage of a page for its jobs; what has ended is watched no longer."""
        job, busy, store = on_stage(jobs), any(not each.ended for each in jobs), self.workspace.store
        elsewhere = None if busy else store.latest(person_of(asker))
        if elsewhere is not None and elsewhere.ended:
            elsewhere = None
        numbers = store.waiting(), store.ahead(job.id) if job else 0, elsewhere.id if elsewhere else ""
        parts = (job.id, job.state, job.phase, job.step, job.preview_serial, job.cancel_requested) if job else ()
        watched = tuple(each.id for each in jobs if not each.ended)
        new = Shown(watched, job.id if job else "", json.dumps((*parts, *numbers)))
        return {
            self.view.stage: self.views.stage(job, elsewhere),
            self.view.cancel: gr.Button(interactive=job is not None and busy and not job.cancel_requested),
            self.view.timer: gr.Timer(active=busy or elsewhere is not None),
            self.shown: new,
            self.kept: new.kept,
        }


def on_stage(jobs: Sequence[Job]) -> Job | None:
    """Of a page's jobs the one to show: the one being drawn, else the next, else the last."""
    going = [job for job in jobs if not job.ended]
    return next((job for job in going if job.state == "running"), None) or next(iter(going or jobs[-1:]), None)
