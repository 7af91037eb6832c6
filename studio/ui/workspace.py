"""Workspace: what all tabs share, that is the studio, its jobs, its gallery and the folder of thumbnails."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.jobs.store import JobStore
from lora_loom.studio.jobs.worker import JobWorker
from lora_loom.studio.session import Studio
from lora_loom.studio.ui.gallery import Gallery
from lora_loom.studio.ui.public import check_public
from lora_loom.studio.ui.services import Services

STATE_FOLDER = ".loom"  # inside the output folder: jobs/ is never served, thumbnails/ is


@dataclass(frozen=True)
class Workspace:
    studio: Studio
    store: JobStore
    worker: JobWorker
    gallery: Gallery
    thumbnails: Path
    services: Services = field(default_factory=Services)  # what tabs bring and share

    @classmethod
    def open(cls, studio: Studio) -> Workspace:
        """The workspace of a studio, kept in its output folder; raises OutputError where nothing can be written."""
        state = studio.output_dir / STATE_FOLDER
        store = JobStore(state / "jobs" / "jobs.sqlite")
        worker = JobWorker(studio, store)
        worker.resume()
        return cls(studio, store, worker, Gallery(studio.output_dir), state / "thumbnails")

    def submit(self, request: GenerationRequest, person: str = "") -> Job:
        """Queue a request of the page or of a program that talks to it; raises what can be known before drawing.

        `person` is who is logged in, empty where nobody has to.
        """
        check_public(request)
        return self.worker.submit(request, person)

    @property
    def start(self) -> dict[str, object]:
        """What the form begins with for this base beside the usual."""
        try:
            return self.studio.defaults.of_request()
        except BaseModelError:  # told when somebody draws
            return {}

    @property
    def served_folders(self) -> list[Path]:
        """What the page may fetch by path: pictures and thumbnails."""
        return [self.studio.output_dir, self.thumbnails]

    @property
    def private_folders(self) -> list[Path]:
        """What it may not, although it lies inside."""
        return [self.store.path.parent]

    def close(self, *, drain: float = 0.0) -> None:
        """Stop drawing, close what the tabs brought, and the list of jobs; the job being drawn has `drain` seconds."""
        self.worker.stop(drain=drain)
        self.services.close()
        self.store.close()
