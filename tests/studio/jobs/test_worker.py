"""JobWorker: draws one job after the other, reports progress, stops within a step, never takes the studio down."""

import io
import threading
import time

import pytest
from PIL import Image

from lora_loom.pipelines.errors import OutputError, UnknownAdapterError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.jobs.store import JobStore
from lora_loom.studio.jobs.worker import JobWorker

TWO = (AdapterChoice("owlet"), AdapterChoice("crown", 0.8))


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path / "jobs.sqlite")
    yield store
    store.close()


@pytest.fixture
def worker(quick_studio, store):
    worker = JobWorker(quick_studio, store)
    yield worker
    worker.stop()


def request(steps=4, **values):
    return GenerationRequest("owlet, crown", adapters=TWO, base_model="tiny", num_inference_steps=steps, **values)


def wait_for(holds, seconds=10.0):
    end = time.monotonic() + seconds
    while not (result := holds()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)
    return result


def ended(store, job):
    return wait_for(lambda: (now := store.get(job.id)).ended and now)


def test_a_job_ends_with_its_pictures_saved(worker, store, quick_studio):
    job = ended(store, worker.submit(request(num_images_per_prompt=2)))
    assert (job.state, job.step, len(job.outputs)) == ("done", 4, 2)
    assert all((quick_studio.output_dir / name).is_file() for name in job.outputs)


def test_a_request_that_cannot_work_is_refused_before_it_waits(worker, store):
    with pytest.raises(UnknownAdapterError):
        worker.submit(GenerationRequest("x", adapters=(AdapterChoice("owlett"),), base_model="tiny"))
    assert store.latest() is None


def test_steps_eta_and_previews_are_reported(worker, store, quick_studio):
    go = threading.Semaphore(2)
    quick_studio.before_step = lambda index: go.acquire(timeout=10)
    job = worker.submit(request())
    seen = wait_for(lambda: (now := store.get(job.id)).step == 2 and now)
    assert (seen.state, seen.phase) == ("running", "drawing")
    assert seen.eta_seconds is not None
    assert seen.preview_serial >= 1
    assert Image.open(io.BytesIO(store.preview(job.id))).size == (32, 32)
    go.release(2)
    assert ended(store, job).state == "done"


def test_cancelling_stops_within_a_step_and_leaves_no_file(worker, store, quick_studio):
    go = threading.Semaphore(2)
    quick_studio.before_step = lambda index: go.acquire(timeout=10)
    job = worker.submit(request(steps=50))
    wait_for(lambda: store.get(job.id).step == 2)
    worker.cancel(job.id)
    go.release(2)
    assert (ended(store, job).state, store.get(job.id).step) == ("cancelled", 2)
    assert not quick_studio.output_dir.exists()


def test_a_failed_job_tells_why_and_the_next_one_is_drawn(worker, store, quick_studio):
    def disk_full(index):
        raise OutputError("x.png could not be written", found="No space left on device")

    quick_studio.before_step = disk_full
    failed = ended(store, worker.submit(request()))
    assert (failed.state, failed.error["type"], failed.error["found"]) == (
        "failed",
        "OutputError",
        "No space left on device",
    )
    quick_studio.before_step = lambda index: None
    assert ended(store, worker.submit(request())).state == "done"


def test_a_fault_of_ours_is_logged_and_the_worker_lives_on(worker, store, quick_studio, caplog):
    def broken(index):
        raise ZeroDivisionError("division by zero")

    quick_studio.before_step = broken
    failed = ended(store, worker.submit(request()))
    assert failed.state == "failed"
    assert "ZeroDivisionError" in failed.error["found"]
    assert "division by zero" in caplog.text
    quick_studio.before_step = lambda index: None
    assert ended(store, worker.submit(request())).state == "done"


def test_previews_take_a_small_share_of_the_time(worker, store, quick_studio):
    def slow_preview(progress):
        time.sleep(0.02)
        return Image.new("RGB", (8, 8))

    quick_studio.preview = slow_preview
    job = ended(store, worker.submit(request(steps=30)))
    assert job.preview_serial <= 2


class Failing:
    """Raises OutputError the first times it is called, as a full disk does."""

    def __init__(self, real, times):
        self.real, self.times = real, times

    def __call__(self, *arguments, **values):
        self.times -= 1
        if self.times >= 0:
            raise OutputError("the list of jobs cannot be kept", found="database or disk is full")
        return self.real(*arguments, **values)


@pytest.mark.parametrize("asked", ["take_next", "finish", "update", "cancel_requested"])
def test_a_full_disk_stops_no_queue(worker, store, monkeypatch, asked):
    monkeypatch.setattr(store, asked, Failing(getattr(store, asked), 2))
    first, second = worker.submit(request()), worker.submit(request())
    assert ended(store, first).state == "done"
    assert ended(store, second).state == "done"


def test_a_stopped_studio_goes_on_when_it_is_opened_again(quick_studio, store):
    worker, go = JobWorker(quick_studio, store), threading.Event()
    quick_studio.before_step = lambda index: go.wait(10)
    drawn, waiting = worker.submit(request()), worker.submit(request())
    wait_for(lambda: store.get(drawn.id).state == "running")
    threading.Timer(0.05, go.set).start()
    worker.stop()
    assert [store.get(job.id).state for job in (drawn, waiting)] == ["queued", "queued"]
    again = JobWorker(quick_studio, store)
    again.resume()
    assert [ended(store, job).state for job in (drawn, waiting)] == ["done", "done"]
    again.stop()


def test_a_drained_studio_finishes_the_picture_it_is_at(quick_studio, store):
    worker = JobWorker(quick_studio, store)
    started = threading.Event()
    quick_studio.before_step = lambda index: started.set()
    drawn = worker.submit(request())
    waiting = worker.submit(request())
    started.wait(10)
    worker.stop(drain=10)
    assert store.get(drawn.id).state == "done"
    assert store.get(waiting.id).state in ("queued", "done")  # it may have been taken just before


def test_nothing_is_started_where_nothing_waits(quick_studio, store):
    worker = JobWorker(quick_studio, store)
    worker.resume()
    assert worker._thread is None


def test_drawn_again_the_pictures_take_the_place_of_the_first(worker, store, quick_studio):
    job = ended(store, worker.submit(request(num_images_per_prompt=2)))
    store._run("UPDATE jobs SET state = 'queued' WHERE id = ?", (job.id,))  # as if it had died before it could tell
    worker._start()
    again = ended(store, job)
    assert again.outputs == job.outputs
    assert sorted(path.name for path in quick_studio.output_dir.glob("*.png")) == sorted(job.outputs)
