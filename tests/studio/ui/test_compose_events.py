"""The events of the Compose tab, called as the page calls them: what is sent, and that nothing gets lost in between."""

import re
import threading
import time
from types import SimpleNamespace

import gradio as gr
import pytest

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.ui.compose_jobs import Shown
from lora_loom.studio.ui.compose_views import Filters, Viewer
from lora_loom.studio.ui.form import read_draft
from lora_loom.studio.ui.stack import StackRow, edited, read_stack, write_stack
from lora_loom.studio.ui.undo import MOST, remembered

# Gradio leaves the event loop that it makes for a page to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def events(quick_studio, connected_events):
    with connected_events(quick_studio) as events:
        yield events


def fields(events, **changes):
    values = {**read_draft({}), "prompt": "an owlet", "num_inference_steps": 2, **changes}
    return [values[name] for name in events.names]


def ticked(events, shown, stacked=()):
    return events.jobs.ticked(None, shown, Viewer(), stacked, Filters(), "", "merge", 128, 128)


def until_told(events, shown, component):
    """Tick as the page does until there is something new for `component`; returns it."""
    for _ in range(500):
        updates = ticked(events, shown)
        if component in updates:
            return updates[component]
        shown = updates[events.jobs.shown]
        time.sleep(0.01)
    raise AssertionError("the page was told nothing")


def settled(events):
    while (job := events.workspace.store.latest()) is None or not job.ended:
        time.sleep(0.005)
    return job


def test_a_finished_picture_reaches_the_gallery(events):
    updates = events.jobs.generate(None, [StackRow("owlet")], Viewer(), Shown(), *fields(events, seed=9))
    view = until_told(events, updates[events.jobs.shown], events.view.gallery)
    assert settled(events).outputs[0] in view


@pytest.mark.parametrize("wait", [False, True])
def test_an_error_is_told_however_soon_the_job_fails(events, quick_studio, monkeypatch, wait):
    def fail(index):
        raise OutputError("x.png could not be written", found="No space left on device")

    quick_studio.before_step = fail
    submit = events.workspace.worker.submit

    def submit_and_wait(request, person=""):
        job = submit(request, person)
        if wait:
            settled(events)
        return job

    monkeypatch.setattr(events.workspace.worker, "submit", submit_and_wait)
    updates = events.jobs.generate(None, [], Viewer(), Shown(), *fields(events))
    told = updates[events.view.banner] or until_told(events, updates[events.jobs.shown], events.view.banner)
    assert "No space left on device" in told


def test_every_job_of_a_queue_is_told_of(events):
    shown = Shown()
    for seed in range(3):
        updates = events.jobs.generate(None, [], Viewer(), shown, *fields(events, seed=seed))
        shown = updates[events.jobs.shown]
    for _ in range(500):
        if not shown.watched:
            break
        time.sleep(0.01)
        updates = ticked(events, shown)
        shown = updates[events.jobs.shown]
    assert shown.watched == ()
    assert updates[events.view.timer].active is False
    assert len(events.workspace.gallery.pictures()[0]) == 3


def test_nothing_is_sent_where_nothing_is_new(events):
    shown = ticked(events, Shown())[events.jobs.shown]
    assert ticked(events, shown) == {events.jobs.shown: shown}


def test_opening_the_page_brings_back_form_stack_and_job(events):
    jobs = events.jobs.generate(None, [], Viewer(), Shown(), *fields(events))[events.jobs.kept]
    kept = {"prompt": "kept words", "seed": 4}
    updates = events.opened(None, kept, [{"name": "crown", "strength": 0.3}], jobs)
    assert updates[events.view.controls["prompt"]] == "kept words"
    assert updates[events.stacked] == [StackRow("crown", 0.3)]
    assert "crown" in updates[events.view.stack]
    assert "data-job" in updates[events.view.stage]


def test_a_trigger_is_inserted_only_if_it_belongs_to_the_lora(events):
    card = events.workspace.studio.library.find("owlet")

    def press(word):
        event = gr.EventData(None, {"action": "trigger", "id": card.id, "value": word})
        return events.shelf_used([], Filters(), "a cat", "merge", None, None, event)

    assert press("owlet") == {events.view.controls["prompt"]: "a cat, owlet"}
    assert press("something else") == {}


def test_nonsense_from_a_browser_changes_nothing(events, subtests):
    cases = [{}, {"action": "toggle", "id": "a_nonsense"}, {"action": 5}, "text", None]
    for data in cases:
        with subtests.test(data=data):
            event = gr.EventData(None, data)
            handler = events._guarded(events.shelf_used)
            updates = handler([StackRow("owlet")], Filters(), "x", "merge", event)
            assert events.stacked not in updates
            assert events._guarded(events.gallery_used)(
                Viewer(), Filters(), gr.EventData(None, {"action": "use", "name": "../x"})
            )


def press(events, handler, own, stacked, data, past=(), form=None):
    """Press as the page does: Gradio puts the event behind the handler's own inputs, the past and the form follow."""
    more = () if form is None else form
    return events._undoable(handler, form=form is not None)(*own, gr.EventData(None, data), past, stacked, *more)


def test_changes_of_the_stack_are_taken_back_one_by_one(events):
    stack, past = [StackRow("owlet"), StackRow("crown", 0.5)], ()
    seen = [stack]
    for data in ({"action": "up", "row": "1"}, {"action": "remove", "row": "0"}):
        own = (stack, Filters(), "x", "merge", None, None)
        updates = press(events, events.stack_used, own, stack, data, past)
        stack, past = updates[events.stacked], updates[events.past]
        assert updates[events.view.undo].interactive
        seen.append(stack)
    for expected in reversed(seen[:-1]):
        updates = events.undone(past, Filters(), "x", "merge", None, None)
        past = updates[events.past]
        assert updates[events.stacked] == expected
        assert events.view.controls["prompt"] not in updates  # what was written meanwhile stays
    assert not updates[events.view.undo].interactive
    assert events.undone(past, Filters(), "x", "merge", None, None) == {}


def test_a_recipe_is_taken_back_with_what_it_did_to_the_form(events):
    form = fields(events, prompt="my own words", method="switch")
    updates = press(events, events.recipe_used, (Filters(),), [StackRow("owlet")], {"value": "0"}, form=form)
    assert updates[events.view.controls["prompt"]] != "my own words"
    back = events.undone(updates[events.past], Filters(), "another", "merge", None, None)
    assert back[events.view.controls["prompt"]] == "my own words"
    assert back[events.view.controls["method"]] == "switch"
    assert back[events.stacked] == [StackRow("owlet")]


def test_what_leaves_the_stack_alone_leaves_the_past_alone(events):
    own = ([], Filters(), "a cat", "merge", None, None)
    assert events.past not in press(events, events.shelf_used, own, [], {"action": "category", "value": "style"})


@pytest.mark.parametrize("data", [{"action": "details", "row": "0"}, {"action": "up", "row": "0"}])
def test_what_draws_the_same_is_no_step_of_the_past(events, data):
    stack = [StackRow("owlet"), StackRow("crown")]
    updates = press(events, events.stack_used, (stack, Filters(), "x", "merge", None, None), stack, data)
    assert events.stacked in updates
    assert events.past not in updates


def test_the_past_has_an_end():
    past = ()
    for strength in range(MOST + 3):
        past = remembered(past, [StackRow("owlet", strength)])
    assert len(past) == MOST
    assert past[0].stacked == (StackRow("owlet", 3),)


@pytest.fixture
def held(events, quick_studio):
    """Pictures stay at their first step until it is called."""
    go = threading.Event()
    quick_studio.before_step = lambda index: go.wait(60)
    yield go.set
    go.set()


def event(**data):
    return gr.EventData(None, data)


def person(name):
    return SimpleNamespace(username=name)


def drawing(events, job_id):
    while events.workspace.store.get(job_id).state == "queued":
        time.sleep(0.005)


def test_each_page_shows_and_cancels_its_own_picture(events, held):
    one = events.jobs.generate(None, [], Viewer(), Shown(), *fields(events, seed=1))[events.jobs.shown]
    updates = events.jobs.generate(None, [], Viewer(), Shown(), *fields(events, seed=2))
    two, view = updates[events.jobs.shown], updates[events.view.stage]
    drawing(events, one.last)
    assert f'data-job="{two.last}"' in view
    assert "Waiting for the picture before it" in view
    cancelled = events.jobs.cancel(None, Viewer(), two)
    assert "Cancelled before it began" in cancelled[events.view.stage]
    assert not events.workspace.store.get(one.last).cancel_requested
    idle = events.jobs.cancel(None, Viewer(), Shown())  # a page without a picture has none to cancel
    assert "press Generate" in idle[events.view.stage]
    assert not events.workspace.store.get(one.last).cancel_requested
    held()
    while not events.workspace.store.get(one.last).ended:
        time.sleep(0.005)
    assert events.workspace.store.get(one.last).state == "done"


def test_a_picture_of_a_closed_page_is_taken_over_where_that_is_wanted(events, held):
    job = events.jobs.generate(person("ann"), [], Viewer(), Shown(), *fields(events))[events.jobs.shown].last
    drawing(events, job)
    asked = event(action="adopt", name=job)
    view = events.jobs.opened(person("ann"), [])[events.view.stage]
    assert "Another tab&#39;s picture is being drawn" in view or "Another tab's picture is being drawn" in view
    assert "Another tab" not in events.jobs.opened(person("bob"), [])[events.view.stage]
    assert events.jobs.opened(person("bob"), [job])[events.jobs.shown].kept == []  # in the tab that Ann had
    assert events.jobs.adopted(person("bob"), Viewer(), Shown(), asked) == {}
    assert events.jobs.adopted(person("ann"), Viewer(), Shown(), event(action="open", name=job)) == {}
    shown = events.jobs.adopted(person("ann"), Viewer(), Shown(), asked)[events.jobs.shown]
    assert shown.watched == (job,)
    events.jobs.cancel(person("ann"), Viewer(), shown)
    assert events.workspace.store.get(job).cancel_requested


def test_what_a_browser_brings_back_as_jobs_may_be_anything(events):
    for kept in (None, 5, {"a": 1}, ["x" * 10_000, 7, None], [""] * 5):
        assert events.jobs.opened(None, kept)[events.jobs.shown].kept == []


def test_a_list_of_jobs_that_was_set_aside_is_told_until_it_is_closed(events):
    events.workspace.store.notice = "The list of jobs was damaged. It was set aside as jobs-set-aside-1.sqlite."
    assert "set aside" in events.opened(None, {}, [], [])[events.view.banner]
    context = [[], Filters(), "", "merge", 128, 128, Viewer(), Shown(), *fields(events)]
    assert events.banner_used(None, event(action="dismiss"), *context) == {events.view.banner: ""}
    view = events.opened(None, {}, [], [])[events.view.banner]
    assert "set aside" in view  # it was another message that was closed
    about = re.search(r'data-action="dismiss"[^>]*data-name="(\w+)"', view)[1]
    events.banner_used(None, event(action="dismiss", name=about), *context)
    assert events.opened(None, {}, [], [])[events.view.banner] == ""


def test_a_second_click_loads_what_fits(events, quick_studio):
    stacked = [StackRow("owlet"), StackRow("crown", 0.5)]
    context = [Filters(), "an owlet", "merge", 128, 128, Viewer(), Shown(), *fields(events)]
    updates = events.banner_used(None, event(action="force", name="crown"), stacked, *context)
    assert [row.choice.forced for row in updates[events.stacked]] == [False, True]
    assert "Loaded by force" in updates[events.view.stack]
    job = events.workspace.store.get(updates[events.jobs.shown].last)
    assert [(each.name, each.forced) for each in job.request.adapters] == [("owlet", False), ("crown", True)]
    again = read_stack(write_stack(updates[events.stacked]))
    assert again == updates[events.stacked]
    assert [row.choice.forced for row in edited(again, "force", "1")] == [False, False]
    unknown = events.banner_used(None, event(action="force", name="gone"), stacked, *context)
    assert "not in the stack" in unknown[events.view.banner]


def test_what_of_a_forced_lora_is_left_out_is_told_when_its_picture_is_there(events, quick_studio, monkeypatch):
    shown = events.jobs.generate(None, [StackRow("crown")], Viewer(), Shown(), *fields(events))[events.jobs.shown]
    settled(events)
    monkeypatch.setattr(quick_studio, "in_part", lambda: {"crown": "77 modules of another shape"})
    assert events.view.stack not in ticked(events, shown, [StackRow("owlet")])
    told = ticked(events, shown, [StackRow("crown")])
    assert "Acts only in part: 77 modules of another shape" in told[events.view.stack]
    assert "Acts only in part: 77 modules of another shape" in told[events.view.shelf]
