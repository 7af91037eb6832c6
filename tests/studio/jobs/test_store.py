"""JobStore: jobs outlive the process that made them, and those that died half-way say so."""

import sqlite3
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


def left_by_a_dead_process(path, *, died_before=0):
    """A list in which one job was being drawn and one waited when the process died."""
    script = f"""
import os
from pathlib import Path
from lora_loom.studio.jobs.store import JobStore
from lora_loom.pipelines.request import GenerationRequest
store = JobStore(Path({str(path)!r}))
store.add(GenerationRequest("half drawn"))
store.take_next()
store.update(store.latest().id, step=7, preview=b"half", attempts={1 + died_before})
store.add(GenerationRequest("never begun"))
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9


def test_what_a_dead_process_left_goes_on(tmp_path):
    path = tmp_path / "jobs.sqlite"
    left_by_a_dead_process(path)
    store = JobStore(path)
    try:
        first, second = store.take_next(), store.take_next()
        assert [job.request.prompt for job in (first, second)] == ["never begun", "half drawn"]
        assert second.step == 0
        assert store.preview(second.id) is None
        assert store.take_next() is None
    finally:
        store.close()


def test_a_job_that_died_twice_is_interrupted(tmp_path):
    path = tmp_path / "jobs.sqlite"
    left_by_a_dead_process(path, died_before=1)
    store = JobStore(path)
    try:
        assert store.take_next().request.prompt == "never begun"
        assert store.take_next() is None
        (half,) = store._run("SELECT id FROM jobs WHERE state = 'interrupted'")
        assert "stopped twice" in store.get(half["id"]).error["what"]
    finally:
        store.close()


def test_a_job_that_is_put_back_waits_as_if_it_had_never_been_taken(store):
    job = store.add(REQUEST)
    store.take_next()
    store.update(job.id, step=3)
    store.put_back(job.id)
    again = store.take_next()
    assert (again.id, again.step) == (job.id, 0)
    assert store._run("SELECT attempts FROM jobs")[0]["attempts"] == 1
    store.finish(job.id, "done")
    store.put_back(job.id)  # too late
    assert store.get(job.id).state == "done"


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


def test_a_request_from_another_version_is_forgotten_and_told(store):
    job = store.add(REQUEST)
    for column, broken in (("request", "[1]"), ("error", "no JSON"), ("outputs", "{")):
        kept = store._run(f"SELECT {column} AS held FROM jobs")[0]["held"]
        store._run(f"UPDATE jobs SET {column} = ?", (broken,))
        reopened = JobStore(store.path)
        assert reopened.get(job.id) is None
        assert "1 jobs of another Loom were dropped" in reopened.notice
        reopened.close()
        job = store.add(REQUEST)
        assert kept != broken


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be kept"):
        JobStore(tmp_path / "file" / "jobs.sqlite")


def test_a_damaged_list_is_set_aside_and_told(tmp_path):
    path = tmp_path / "jobs.sqlite"
    for number in (1, 2):
        path.write_bytes(b"this is no database, " * 100)
        store = JobStore(path)
        assert store.notice.startswith(
            f"The list of jobs was damaged. It was set aside as jobs-set-aside-{number}.sqlite"
        )
        assert (tmp_path / f"jobs-set-aside-{number}.sqlite").read_bytes().startswith(b"this is no")
        assert store.add(REQUEST).state == "queued"
        store.close()


def test_a_list_cut_off_in_the_middle_is_set_aside(tmp_path):
    path = tmp_path / "jobs.sqlite"
    store = JobStore(path)
    for _ in range(50):
        store.add(REQUEST)
    store.close()
    path.write_bytes(path.read_bytes()[:5000])
    again = JobStore(path)
    assert "was damaged" in again.notice
    assert again.latest() is None
    again.close()


def test_a_list_of_a_newer_loom_is_set_aside_and_told(store):
    store._run("PRAGMA user_version = 99")
    other = JobStore(store.path)
    assert "is of a newer Loom" in other.notice
    other.close()


def test_a_list_of_an_older_loom_is_read(tmp_path):
    path = tmp_path / "jobs.sqlite"
    store = JobStore(path)
    job = store.add(REQUEST)
    store.finish(job.id, "done", outputs=("a.png",))
    store._run("ALTER TABLE jobs DROP COLUMN attempts")
    store._run("PRAGMA user_version = 0")
    store.close()
    again = JobStore(path)
    assert again.get(job.id).outputs == ("a.png",)
    assert again.notice == ""
    again.close()


def test_a_list_with_other_columns_is_set_aside(tmp_path):
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (number INTEGER PRIMARY KEY, id TEXT)")
    connection.close()
    store = JobStore(path)
    assert "is of another Loom (it lacks" in store.notice
    store.close()


def test_a_step_of_the_clock_takes_no_job_away(store, monkeypatch):
    job = store.add(REQUEST)
    store.take_next()
    monkeypatch.setattr("time.time", lambda: 10.0)
    other = JobStore(store.path)
    assert other.get(job.id).state == "running"
    other.close()


def die_over(path, times):
    """The process dies so often, each time over the job that it takes; gives their prompts."""
    script = f"""
import os
from pathlib import Path
from lora_loom.studio.jobs.store import JobStore
store = JobStore(Path({str(path)!r}))
job = store.take_next()
print(job.request.prompt if job else "", flush=True)
os._exit(9)
"""
    run = [sys.executable, "-c", script]
    return [subprocess.run(run, capture_output=True, text=True, check=False).stdout.strip() for _ in range(times)]


def test_kills_from_outside_use_up_no_job(tmp_path):
    path = tmp_path / "jobs.sqlite"
    store = JobStore(path)
    for prompt in ("first", "second"):
        store.add(GenerationRequest(prompt))
    store._run("UPDATE jobs SET owner = ''")
    store.close()
    assert die_over(path, 3) == ["first", "second", "first"]
    store = JobStore(path)  # first has died twice, nobody knows yet of second whose fault it was
    assert store._run("SELECT state FROM jobs ORDER BY number")[0]["state"] == "interrupted"
    store._run("UPDATE jobs SET state = 'running', attempts = 2, owner = '' WHERE number = 1")
    second = store.take_next()
    assert second.request.prompt == "second"
    store.finish(second.id, "done")
    store.close()
    store = JobStore(path)  # second was drawn although a process died over it: that came from outside
    try:
        assert store.take_next().request.prompt == "first"
    finally:
        store.close()
