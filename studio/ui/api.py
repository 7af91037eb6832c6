"""The studio over HTTP: the same requests as everywhere, as JSON. LoRAs go by their library names, never by path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from functools import wraps
from typing import Any

import gradio as gr
from gradio.events import api

from lora_loom.pipelines.errors import LoomError, RequestError
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.pipelines.requests.prompt_syntax import prompt_notices, split_prompt
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.library.search import search
from lora_loom.studio.settings_form import form
from lora_loom.studio.ui.without_paths import without_paths
from lora_loom.studio.ui.workspace import Workspace


def add_endpoints(workspace: Workspace) -> None:
    """Add the endpoints to the page being built: /generate, /job, /cancel, /library, /methods.

    Where people log in, each sees and stops only jobs of their own.
    """

    def generate(request: dict, asker: gr.Request) -> dict:
        """Queue a request (the JSON of GenerationRequest; base_model may be left out) and return its job.

        Tags of LoRAs in the prompt act; `notices` say what in it was not read, and are left out where all was.
        """
        asked = GenerationRequest.from_dict({"base_model": workspace.studio.base_model, **request})
        prompt, tagged = split_prompt(asked.prompt)
        if tagged:
            asked = replace(asked, prompt=prompt, adapters=(*asked.adapters, *tagged))
        notices = prompt_notices(str(request.get("prompt", "")))
        return describe(workspace.submit(asked, person_of(asker))) | ({"notices": list(notices)} if notices else {})

    def known(job_id: str, asker: gr.Request) -> Job:
        found = workspace.store.get(job_id) if job_id else workspace.store.latest(person_of(asker))
        if found is None or found.person != person_of(asker):
            raise RequestError("there is no such job", found=job_id[:40] or "no job at all")
        return found

    def job(job_id: str, asker: gr.Request) -> dict:
        """How far a job is; the latest one for an empty id."""
        return describe(known(job_id, asker))

    def cancel(job_id: str, asker: gr.Request) -> dict:
        """Stop a job: at once while it waits, within a step while it is drawn."""
        if not job_id:
            raise RequestError("no job was named", expected="the id that /generate gave")
        found = known(job_id, asker)
        return describe(workspace.worker.cancel(job_id) or found)

    def library(query: str = "", category: str = "") -> list:
        """The LoRAs that fit a search."""
        cards = search(workspace.studio.library.cards(), query, category)
        hidden = ("path", "preview_path")
        return [{name: value for name, value in asdict(card).items() if name not in hidden} for card in cards]

    def fusion_methods() -> list:
        """The fusion methods with their settings."""
        return [
            {
                "name": name,
                "title": method.title,
                "when_to_use": method.when_to_use,
                "passes_per_step": method.passes_per_step,
                "order_matters": method.order_matters,
                "source": method.source,
                "settings": [asdict(field) for field in form(method)],
            }
            for name, method in methods().items()
        ]

    for name, endpoint in (
        ("generate", generate),
        ("job", job),
        ("cancel", cancel),
        ("library", library),
        ("methods", fusion_methods),
    ):
        api(_explained(endpoint), api_name=name, queue=False)


def person_of(asker: gr.Request | None) -> str:
    """The name under which somebody is logged in, empty where nobody has to."""
    return (asker.username or "") if asker is not None else ""


def describe(job: Job) -> dict[str, Any]:
    """A job as JSON."""
    error = {name: without_paths(words) for name, words in job.error.items()}
    plain = {field.name: getattr(job, field.name) for field in fields(job) if field.name != "person"}
    return {**plain, "request": job.request.to_dict(), "error": error, "progress": job.progress}


def _explained(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint with a LoomError passed on as the message of Gradio's own error."""

    @wraps(endpoint)
    def explained(*arguments: Any, **named: Any) -> Any:
        try:
            return endpoint(*arguments, **named)
        except LoomError as error:
            raise gr.Error(without_paths(str(error)), title=type(error).__name__, print_exception=False) from error

    return explained
