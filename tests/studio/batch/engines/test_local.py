"""Workers are killed at random and between writing and naming a file; resumed, the batch is what it would have been."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import Pipe, forkserver

import pytest

from lora_loom.pipelines.errors import BatchError, ChangedAdapterError
from lora_loom.studio.batch import faults
from lora_loom.studio.batch.audit import audit
from lora_loom.studio.batch.engines import local
from lora_loom.studio.batch.engines.local import run_local
from lora_loom.studio.batch.layouts.layout import sealed_rows
from lora_loom.studio.batch.lease import claim, current, states
from lora_loom.studio.batch.worker import Worker, WorkerOptions, open_studio
from lora_loom.studio.liveness import is_gone

pytestmark = pytest.mark.long

SUITE = """
samples = {samples}
prompts = ["a red circle", "a blue star"]
lora_sets = [["fox:1", "ink:0.8"], ["fox:1"], []]
methods = ["merge", "composite"]
batch_size = 2
[request]
num_inference_steps = 3
"""


@pytest.fixture
def fresh_processes():
    """Workers get the environment of this moment: the process they are forked from is started anew."""
    stop = forkserver._forkserver._stop
    stop()
    yield
    stop()


def hashes(batch):
    return {row["uid"]: row["pixels_sha256"] for row in sealed_rows(batch)}


def draw_here(batch):
    """An uninterrupted run in this process."""
    options = WorkerOptions()
    with Worker(batch, open_studio(batch, options), options, lambda: False) as worker:
        worker.run()
    return hashes(batch)


def kill_one(batch, rng):
    """Kill a worker that is drawing, but no batch twice: that would make it suspect, and it would be drawn in parts."""
    victims = [
        lease
        for lease in current(batch)
        if lease.drawing
        and is_gone(lease.process) is False
        and all(former.drawing != lease.drawing for former in states(batch, lease.shard)[:-1])
    ]
    if victims:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(victims).process.pid, signal.SIGKILL)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("kills", "samples", "layout"),
    [
        (4, 2, "folder"),
        pytest.param(24, 9, "folder", marks=pytest.mark.slow),
        pytest.param(24, 9, "webdataset", marks=pytest.mark.slow),
    ],
)
def test_killed_workers_lose_nothing_and_draw_nothing_twice(
    plan, tiny_pocket, monkeypatch, fresh_processes, kills, samples, layout
):
    text = f'layout = "{layout}"\n' + SUITE.format(samples=samples)
    expected = draw_here(plan(text, "uninterrupted", base=tiny_pocket))
    batch = plan(text, "killed", base=tiny_pocket)
    deaths, ended = [], local._Run._ended

    def count(self, context, index, process, pipe):
        process.join()
        deaths.append(process.exitcode)
        ended(self, context, index, process, pipe)

    monkeypatch.setattr(local._Run, "_ended", count)
    stop, rng = threading.Event(), random.Random(0)

    def kill():
        while deaths.count(-signal.SIGKILL) < kills and not stop.wait(rng.uniform(0.1, 0.6)):
            kill_one(batch, rng)
        stop.set()

    killer = threading.Thread(target=kill)
    with monkeypatch.context() as patch:
        patch.setenv(faults.VARIABLE, "link:4")  # every worker that lives to see its fourth file
        killer.start()
        try:
            run_local(batch, 4, WorkerOptions(), lambda progress: None, stop.is_set)
        finally:
            stop.set()
            killer.join()
    assert deaths.count(-signal.SIGKILL) >= kills
    forkserver._forkserver._stop()
    run_local(batch, 2, WorkerOptions(), lambda progress: None, lambda: False)
    assert audit(batch).passed
    assert hashes(batch) == expected
    assert [row["uid"] for row in sealed_rows(batch)] == [picture.uid for picture in batch.pictures]
    assert max(row["attempt"] for row in sealed_rows(batch)) > 1


@pytest.mark.timeout(900)
def test_two_runs_in_one_folder_share_the_work(plan, tiny_pocket):
    batch = plan(SUITE.format(samples=4), base=tiny_pocket)
    runs = [threading.Thread(target=run_local, args=(batch, 1, WorkerOptions(), print, lambda: False)) for _ in (1, 2)]
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert audit(batch).passed
    rows = list(sealed_rows(batch))
    assert len({row["worker"] for row in rows}) == 2
    assert {row["attempt"] for row in rows} == {1}  # nothing was drawn by both


@pytest.mark.slow
def test_workers_end_when_the_run_that_started_them_is_killed(plan, tiny_pocket):
    batch = plan(SUITE.format(samples=200), base=tiny_pocket)
    code = "import sys; from lora_loom.studio.cli import main; main()"
    run = subprocess.Popen([sys.executable, "-c", code, "batch", "run", str(batch.folder), "--workers", "2"])

    def drawing():
        return [lease for lease in current(batch) if is_gone(lease.process) is False]

    try:
        wait_until(lambda: len(drawing()) == 2)
    finally:
        run.kill()
        run.wait()
    wait_until(lambda: not drawing())
    assert all(lease.ended for lease in current(batch))  # they finished what they drew and released it
    assert len(list((batch.folder / "images").rglob("*.png"))) < len(batch.pictures)


def wait_until(holds, seconds=200):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.timeout(900)
class TestOneWorker:
    """What a worker that cannot work tells the run that started it."""

    ONE = 'prompts = ["a red circle"]\nlora_sets = [["fox"]]\n[request]\nnum_inference_steps = 1'

    def test_an_error_of_a_worker_ends_the_run(self, plan, tiny_pocket, loras, write_lora):
        batch = plan(self.ONE, base=tiny_pocket)
        before = (loras / "fox.safetensors").read_bytes()
        try:
            write_lora(loras / "fox.safetensors", seed=5)
            with pytest.raises(ChangedAdapterError, match="LoRA fox has changed since the plan"):
                run_local(batch, 1, WorkerOptions(), lambda progress: None, lambda: False)
        finally:
            (loras / "fox.safetensors").write_bytes(before)

    def test_workers_that_only_die_are_not_started_for_ever(self, plan, tiny_pocket, monkeypatch):
        monkeypatch.setattr(local, "FRUITLESS_DEATHS", -3)
        batch = plan(self.ONE, base=tiny_pocket)
        with pytest.raises(BatchError, match=r"die and get nothing done: 2 in a row.*exit code 1"):
            run_local(batch, 1, WorkerOptions(device="no such device"), lambda progress: None, lambda: False)


def test_only_deaths_without_a_picture_count_towards_giving_up(plan, tiny_pocket, monkeypatch):
    """A death over a picture is that picture's matter, however many there are."""

    class Gone:
        pid, exitcode = os.getpid(), -9

        def join(self):
            pass

    batch = plan(TestOneWorker.ONE, base=tiny_pocket)
    run = local._Run(batch, 1, WorkerOptions(), lambda progress: None, lambda: False)
    started = []
    monkeypatch.setattr(run, "_start", lambda context, index: started.append(index))
    lease = claim(batch, 0)
    limit = local.FRUITLESS_DEATHS + 4
    for drawing, deaths in (((batch.pictures[0].uid,), 3 * limit), ((), limit)):
        lease.note(drawing=drawing)
        for _ in range(deaths):
            run._ended(None, 0, Gone(), Pipe()[0])
    assert len(started) == 4 * limit
    run._ended(None, 0, Gone(), Pipe()[0])
    assert len(started) == 4 * limit  # given up
