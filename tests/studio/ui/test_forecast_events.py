"""The forecast beside the page's events: made when the stack changes or a person asks, and applied at a click."""

import re

import gradio as gr
import pytest
from markupsafe import Markup

from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.forecast import forecasts as forecasts_module
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.session import Studio
from lora_loom.studio.ui.compose_views import Filters
from lora_loom.studio.ui.form import read_draft
from lora_loom.studio.ui.stack import StackRow

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # Gradio's loops
UNEVEN = [StackRow("owlet", 0.1), StackRow("crown", 1.0)]


@pytest.fixture(scope="module")
def events(tiny_pocket, write_lora, tmp_path_factory, connected_events):
    folder = tmp_path_factory.mktemp("forecast")
    write_lora(folder / "loras" / "owlet.safetensors", title="<b>Owlet</b>", category="character", seed=1)
    write_lora(folder / "loras" / "crown.safetensors", title="Crown", category="accessory", seed=2)
    studio = Studio(str(tiny_pocket), AdapterLibrary([folder / "loras"]), folder / "outputs", device="cpu")
    with connected_events(studio) as events:
        yield events


def fields(events, **changes):
    values = {**read_draft({}), **changes}
    return [values[name] for name in events.names]


def shown(events, stacked, before="", **changes):
    """All that the area shows after a change, one view after the other."""
    found = [*events.forecast.changed(stacked, before, *fields(events, **changes))]
    assert found[-1][events.forecast.before] == found[-1][events.view.forecast]
    return [each[events.view.forecast] for each in found]


def test_nothing_is_shown_of_fewer_than_two(events):
    assert shown(events, [StackRow("owlet"), StackRow("crown", on=False)], "old") == [""]


def test_it_is_made_once_and_tells_what_it_does_not_know(events):
    before, view = shown(events, [StackRow("owlet"), StackRow("crown", 0.9)], Markup("<p>old</p>"))
    assert "loom-stale" in before
    assert "<p>old</p>" in before
    assert "&lt;b&gt;Owlet&lt;/b&gt;" in view
    assert "<b>Owlet" not in view
    assert "loom-shares" in view
    assert re.search(r"About \d+% of pictures by Merge would lack a concept", view)
    assert "Told for Merge" not in view
    (again,) = shown(events, [StackRow("owlet"), StackRow("crown", 0.9)], method="switch")
    assert "Told for Merge" in again


def test_without_a_fitted_model_it_says_nothing_of_pictures(events, monkeypatch, tmp_path):
    monkeypatch.setattr("lora_loom.studio.forecast.diagnosis.forecast_path", lambda: tmp_path / "none.json")
    view = shown(events, [StackRow("owlet", 0.7), StackRow("crown", 0.8)])[-1]
    assert "Not calibrated" in view
    assert "would lack a concept" not in view


def test_a_remedy_is_one_click(events):
    view = shown(events, UNEVEN)[-1]
    (times,) = re.findall(r"Crown will dominate: it is ([\d.]+) times as strong", view)
    assert 5 < float(times) < 20  # two random LoRAs of like size, one at a tenth
    assert "Even out the strengths" in view
    key = events.forecast.forecasts.of([AdapterChoice("owlet", 0.1), AdapterChoice("crown", 1.0)]).key
    assert f'data-key="{key}"' in view

    def press(stacked, key, value="0", action="remedy"):
        event = gr.EventData(None, {"action": action, "key": key, "value": value})
        return events.remedy_used(stacked, Filters(), "x", "merge", None, None, event)

    after = press(UNEVEN, key)[events.stacked]
    assert 0.2 < after[0].strength < 0.5
    assert 0.2 < after[1].strength < 0.5
    assert "None will dominate" in shown(events, after)[-1]
    assert press([StackRow("owlet", 0.2), StackRow("crown")], key) == {}  # the page shows another stack by now
    assert press(UNEVEN, "nonsense") == {}
    assert press(UNEVEN, key, "99") == {}
    assert press(UNEVEN, key, "-1") == {}
    assert press(UNEVEN, key, action="foresee") == {}


def test_a_large_examination_waits_to_be_asked(events, monkeypatch):
    monkeypatch.setattr(forecasts_module, "QUICK_LORAS", 1)
    stacked = [StackRow("owlet", 0.7), StackRow("crown", 0.7)]
    (view,) = shown(events, stacked)
    assert 'data-action="foresee"' in view
    ask = gr.EventData(None, {"action": "foresee"})
    *_, last = events.forecast.asked(stacked, view, ask, *fields(events))
    assert "loom-shares" in last[events.view.forecast]
    (quiet,) = events.forecast.asked(stacked, view, gr.EventData(None, {"action": "remedy"}), *fields(events))
    assert events.forecast.before not in quiet


def test_what_fails_is_a_plain_line(events, monkeypatch):
    stacked = [StackRow("owlet", 0.6), StackRow("gone")]
    assert "gone is left out" in shown(events, stacked)[-1]

    def fail(choices):
        raise RuntimeError("boom")

    monkeypatch.setattr(events.forecast.forecasts, "of", fail)
    view = shown(events, [StackRow("owlet", 0.55), StackRow("crown", 0.55)])[-1]
    assert "something went wrong inside Loom" in view
    assert "boom" not in view
