"""The stage: one view for each state of a job."""

from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.jobs.job import Job
from lora_loom.studio.ui.stage import duration, stage


def show(state="running", phase="drawing", *, preview=None, waiting=0, ahead=0, **values):
    job = Job("j1", GenerationRequest("a cat", seed=7), state, phase, created_at=0.0, num_steps=20, **values)
    return stage(job, preview=preview, waiting=waiting, ahead=ahead, picture_path=lambda name: None)


def test_nothing_yet_says_how_to_begin():
    assert "press Generate" in stage(None, preview=None, waiting=0, picture_path=lambda name: None)


def test_a_running_job_shows_step_eta_and_preview():
    view = show(step=5, eta_seconds=90.4, preview=b"webp")
    assert "Step 5 of 20" in view
    assert "about 1 min 30 s left" in view
    assert "data:image/webp;base64,d2VicA==" in view
    assert 'aria-valuenow="5"' in view


def test_every_state_says_what_it_is(subtests):
    cases = [
        ({"state": "queued", "phase": "waiting"}, "Waiting"),
        ({"state": "queued", "phase": "waiting", "ahead": 3}, "Waiting for 3 pictures before it"),
        ({"phase": "loading", "started_at": 1.0}, "ready"),
        ({"phase": "saving"}, "Saving"),
        ({"cancel_requested": True}, "Stopping"),
        ({"waiting": 2}, "2 more waiting"),
        ({"state": "cancelled", "phase": "finished", "step": 3}, "Cancelled at step 3 of 20"),
        ({"state": "cancelled", "phase": "finished"}, "before it began"),
        ({"state": "failed", "phase": "finished"}, "could not be made"),
        ({"state": "interrupted", "phase": "finished"}, "Interrupted"),
        ({"state": "done", "phase": "finished", "outputs": ("gone.png",)}, "are gone"),
    ]
    for values, words in cases:
        with subtests.test(values=values, words=words):
            assert words in show(**values)


def test_durations_are_short():
    assert [duration(x) for x in (-1, 0.84, 12.3, 200, 3900)] == ["0.0 s", "0.8 s", "12 s", "3 min 20 s", "1 h 5 min"]
