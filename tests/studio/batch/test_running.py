"""A run that is told to stop finishes what it began and says so; the next one goes on from there."""

import os
import signal
import sys

import pytest

from lora_loom.pipelines.errors import BatchError, RequestError
from lora_loom.studio.batch.audit import audit
from lora_loom.studio.batch.lease import claim
from lora_loom.studio.batch.running import drained_by_signals, forget_failures, run_batch
from lora_loom.studio.batch.worker import WorkerOptions

SUITE = 'prompts = ["a red circle"]\nsamples = 40\nbatch_size = 1\n[request]\nnum_inference_steps = 8'


@pytest.mark.timeout(900)  # it starts processes, on a machine that may be busy
@pytest.mark.long
def test_a_signal_drains_and_the_next_run_goes_on(plan, tiny_pocket):
    batch, sent = plan(SUITE, base=tiny_pocket), []

    def show(progress):
        if progress.done and not sent:
            sent.append(progress.done)
            os.kill(os.getpid(), signal.SIGTERM)

    stopped = run_batch(batch, WorkerOptions(), show, workers=2)
    assert stopped.signal == signal.SIGTERM
    assert sent[0] <= stopped.progress.done < 40
    assert stopped.progress.working == ()
    done = run_batch(batch, WorkerOptions(), lambda progress: None, workers=1)
    assert (done.signal, done.progress.done) == (0, 40)
    assert audit(batch).passed
    assert run_batch(batch, WorkerOptions(), lambda progress: None).progress.done == 40  # with nothing left to do


def test_a_second_ctrl_c_interrupts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        with drained_by_signals() as caught:
            os.kill(os.getpid(), signal.SIGINT)
            assert caught == [signal.SIGINT]
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_unknown_engine_is_named(plan):
    with pytest.raises(RequestError, match="no engine 'dask'"):
        run_batch(plan(), WorkerOptions(), lambda progress: None, engine="dask")


def test_without_ray_its_engine_says_how_to_get_it(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BatchError, match=r"lora-loom\[cluster\]"):
        run_batch(plan(), WorkerOptions(), lambda progress: None, engine="ray")


def test_failures_are_not_forgotten_under_the_hands_of_workers(plan):
    batch = plan()
    claim(batch, 0)
    with pytest.raises(BatchError, match="workers are at work"):
        forget_failures(batch)
