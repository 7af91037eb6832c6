"""JobWorker: one thread that draws the queued jobs, reports every step to the store and stops within a step."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from lora_loom.pipelines.errors import CancelledError, LoomError, OutputError
from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.jobs.store import JobStore
from lora_loom.studio.session import Asked

if TYPE_CHECKING:
    from PIL import Image

    from lora_loom.pipelines.generate import StepProgress
    from lora_loom.studio.session import Generation

PREVIEW_INTERVAL = 0.45  # seconds between preview pictures
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 20.0  # seconds before a list of jobs that cannot be used is tried again
PREVIEW_SHARE = 0.15  # share of the time that drawing previews may take
logger = logging.getLogger(__name__)


class Drawing(Protocol):
    """What the worker needs of a Studio."""

    def check(self, request: GenerationRequest) -> None: ...

    def generate(
        self,
        request: GenerationRequest,
        on_step: Callable[[StepProgress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        *,
        asked: Asked | None = None,
    ) -> Sequence[Generation]: ...

    def preview(self, progress: StepProgress) -> Image.Image: ...


class JobWorker:
    """Draws the jobs of `store` with `studio`, one at a time, in a thread of its own that starts with the first job."""

    def __init__(self, studio: Drawing, store: JobStore) -> None:
        self.studio = studio
        self.store = store
        self._wake = threading.Event()
        self._draining = threading.Event()  # no further job is taken
        self._stopping = threading.Event()  # the one being drawn is stopped
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._unsaid: dict[str, Callable[[], None]] = {}  # how jobs ended that the store could not be told yet

    def resume(self) -> None:
        """Go on with jobs that wait, such as those of a studio that was stopped."""
        if self.store.waiting():
            self._start()

    def submit(self, request: GenerationRequest, person: str = "") -> Job:
        """Queue a request of a person; raises the LoomError that can be known before drawing."""
        self.studio.check(request)
        job = self.store.add(request, person)
        self._start()
        return job

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="loom-worker", daemon=True)
                self._thread.start()
        self._wake.set()

    def cancel(self, job_id: str) -> Job | None:
        """Stop a job: at once while it waits, within a step while it is drawn. None for an unknown id."""
        return self.store.request_cancel(job_id)

    def stop(self, timeout: float = 10.0, *, drain: float = 0.0) -> None:
        """End the thread. Jobs that wait stay queued, and go on when the studio is opened again.

        The one being drawn may take `drain` seconds to end; then it is stopped within a step and waits again, too.
        """
        self._draining.set()
        self._wake.set()
        if self._thread is not None and drain:
            self._thread.join(drain)
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self) -> None:
        pause = FIRST_PAUSE
        while not self._draining.is_set():
            try:
                self._say_what_is_unsaid()
                job = self.store.take_next()
            except Exception:  # a full disk, a locked file: it may be over in a moment, and jobs wait
                logger.exception("the list of jobs cannot be used; trying again in %.1f s", pause)
                self._draining.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            if job is None:
                self._wake.wait()
                self._wake.clear()
            else:
                self._draw(job)
        with suppress(Exception):
            self._say_what_is_unsaid()

    def _ended(self, job: Job, tell: Callable[[], None]) -> None:
        """Tell the store how a job ended, now or as soon as it can be told."""
        self._unsaid[job.id] = tell
        try:
            self._say_what_is_unsaid()
        except Exception:
            logger.exception("how job %s ended could not be kept yet", job.id)

    def _say_what_is_unsaid(self) -> None:
        for job_id, tell in list(self._unsaid.items()):
            tell()
            del self._unsaid[job_id]

    def _cancelled(self, job: Job) -> bool:
        if self._stopping.is_set():
            return True
        try:
            return self.store.cancel_requested(job.id)
        except LoomError:
            return False

    def _draw(self, job: Job) -> None:
        report = _StepReport(self.studio, self.store, job)
        try:
            made = self.studio.generate(
                job.request,
                on_step=report,
                cancelled=lambda: self._cancelled(job),
                asked=Asked(job.created_at, job.id),  # a studio that died before it told us may have drawn them
            )
        except CancelledError:
            if self._stopping.is_set():
                self._ended(job, lambda: self.store.put_back(job.id))
            else:
                self._ended(job, lambda: self.store.finish(job.id, "cancelled"))
        except LoomError as error:
            said = error.to_dict()
            self._ended(job, lambda: self.store.finish(job.id, "failed", error=said))
        except Exception as error:  # a fault of ours: said loudly in the log, and the studio stays alive
            logger.exception("job %s failed", job.id)
            fault = _fault(error)
            self._ended(job, lambda: self.store.finish(job.id, "failed", error=fault))
        else:
            outputs = tuple(one.path.name for one in made if one.path)
            self._ended(job, lambda: self.store.finish(job.id, "done", outputs=outputs))


class _StepReport:
    """Writes a job's progress at every step, and a preview at most every `PREVIEW_INTERVAL` seconds."""

    def __init__(self, studio: Drawing, store: JobStore, job: Job) -> None:
        self.studio, self.store, self.job = studio, store, job
        self.last_step_at: float | None = None
        self.seconds_per_step: float | None = None
        self.next_preview_at = 0.0

    def __call__(self, progress: StepProgress) -> None:
        try:
            self._report(progress)
        except OutputError:  # the picture goes on without its progress being seen
            logger.warning("the progress of job %s could not be kept", self.job.id, exc_info=True)

    def _report(self, progress: StepProgress) -> None:
        now = time.monotonic()
        if self.last_step_at is not None:
            taken = now - self.last_step_at
            mean = self.seconds_per_step
            self.seconds_per_step = taken if mean is None else 0.7 * mean + 0.3 * taken
        done, total = progress.index + 1, progress.num_inference_steps
        eta = None if self.seconds_per_step is None else self.seconds_per_step * (total - done)
        self.store.update(
            self.job.id,
            phase="saving" if done == total else "drawing",
            step=done,
            num_steps=total,
            eta_seconds=eta,
            seconds_per_step=self.seconds_per_step,
        )
        if now >= self.next_preview_at and done < total:
            self.store.update(self.job.id, preview=_encode(self.studio.preview(progress)))
            cost = time.monotonic() - now
            self.next_preview_at = now + max(PREVIEW_INTERVAL, cost / PREVIEW_SHARE)
        self.last_step_at = now  # the next step's time includes this preview, as the remaining ones will


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "WEBP", quality=85, method=0)
    return buffer.getvalue()


def _fault(error: Exception) -> Mapping[str, str]:
    return LoomError(
        "something went wrong inside Loom",
        found=f"{type(error).__name__}: {error}"[:500],
        remedy="the studio's log has the details; please report it",
    ).to_dict()
