"""JobStore: jobs outlive the process that made them, and those that died half-way say so."""

import subprocess
import sys

import pytest

from lora_loom.pipelines.errors import OutputError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.jobs.store import JobStore

REQUEST = GenerationRequest("a cat", adapters=(AdapterChoice("owlet", 0.5),), num_inference_steps=4)


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path / "deep" / "jobs.sqlite")
    yield store
    store.close()


def test_a_job_keeps_its_request_and_waits(store):
    job = store.add(REQUEST)
    assert (job.request, job.state, job.phase, job.num_steps) == (REQUEST, "queued", "waiting", 4)
    assert store.get(job.id) == job
    assert store.waiting() == 1
    assert not job.ended


def test_jobs_are_taken_in_order(store):
    first, second = store.add(REQUEST), store.add(REQUEST)
    assert store.take_next().id == first.id
    assert store.take_next().id == second.id
    assert store.take_next() is None


def test_the_latest_is_the_running_then_the_waiting_then_the_last_ended(store):
    assert store.latest() is None
    first, second = store.add(REQUEST), store.add(REQUEST)
    assert store.latest().id == first.id
    store.take_next()
    assert store.latest().id == first.id
    store.finish(first.id, "done", outputs=("a.png",))
    assert store.latest().id == second.id
    store.take_next()
    store.finish(second.id, "done")
    assert store.latest().id == second.id
    assert store.get(first.id).outputs == ("a.png",)


def test_progress_and_preview_are_seen_while_a_job_runs(store):
    job = store.add(REQUEST)
    store.take_next()
    store.update(job.id, step=2, phase="drawing", eta_seconds=1.5)
    store.update(job.id, preview=b"one")
    store.update(job.id, preview=b"two")
    seen = store.get(job.id)
    assert (seen.step, seen.progress, seen.eta_seconds, seen.preview_serial) == (2, 0.5, 1.5, 2)
    assert store.preview(job.id) == b"two"
    store.finish(job.id, "done")
    assert store.preview(job.id) is None


def test_an_ended_job_changes_no_more(store):
    job = store.add(REQUEST)
    store.finish(job.id, "failed", error={"what": "it broke"})
    store.update(job.id, step=3)
    store.finish(job.id, "done")
    assert (store.get(job.id).state, store.get(job.id).step, store.get(job.id).error["what"]) == (
        "failed",
        0,
        "it broke",
    )


def test_cancelling_ends_what_waits_and_asks_what_runs(store):
    running, waiting = store.add(REQUEST), store.add(REQUEST)
    store.take_next()
    assert store.request_cancel(waiting.id).state == "cancelled"
    assert store.request_cancel(running.id).state == "running"
    assert store.cancel_requested(running.id)
    assert store.request_cancel("nonsense") is None


def test_a_job_of_a_process_that_is_gone_is_interrupted(tmp_path):
    path = tmp_path / "jobs.sqlite"
    script = f"""
import os
from pathlib import Path
from lora_loom.studio.jobs.store import JobStore
from lora_loom.pipelines.request import GenerationRequest
store = JobStore(Path({str(path)!r}))
store.add(GenerationRequest("half drawn"))
store.take_next()
store.update(store.latest().id, step=7, preview=b"half")
store.add(GenerationRequest("never begun"))
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    store = JobStore(path)
    try:
        last = store.latest()
        assert (last.request.prompt, last.state) == ("never begun", "interrupted")
        assert "not finished" in last.error["what"]
        assert store.waiting() == 0
        assert store.take_next() is None
    finally:
        store.close()


def test_jobs_of_a_process_that_lives_are_left_alone(store):
    job = store.add(REQUEST)
    store.take_next()
    other = JobStore(store.path)
    assert other.get(job.id).state == "running"
    other.close()


def test_old_jobs_are_forgotten(store, monkeypatch):
    monkeypatch.setattr("lora_loom.studio.jobs.store.KEPT_JOBS", 3)
    jobs = []
    for _ in range(6):
        jobs.append(store.add(REQUEST))
        store.finish(jobs[-1].id, "done")
    assert [store.get(job.id) is None for job in jobs] == [True, True, True, False, False, False]


def test_a_request_from_another_version_is_forgotten(store):
    job = store.add(REQUEST)
    store._run("UPDATE jobs SET request = ?", ('{"prompt": "x", "from_the_future": 1}',))
    reopened = JobStore(store.path)
    assert reopened.get(job.id) is None
    reopened.close()


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be kept"):
        JobStore(tmp_path / "file" / "jobs.sqlite")
    (tmp_path / "bad.sqlite").write_bytes(b"this is no database, " * 100)
    with pytest.raises(OutputError, match="cannot be kept"):
        JobStore(tmp_path / "bad.sqlite")
