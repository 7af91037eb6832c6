"""The Label tab: blind, in order, kept at once, and never beyond its folders."""

import gc
import json
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from lora_loom.studio.ui.tabs.label import LabelTab, Round
from lora_loom.studio.ui.workspace import Workspace

# Gradio leaves the event loop that it makes for a page to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
SECRETS = ("secret_method", "secret-file", "secret prompt")


@pytest.fixture
def tab(quick_studio):
    folder = quick_studio.output_dir / "a_set"
    folder.mkdir(parents=True)
    rows = []
    for i in range(3):
        name = f"secret-file-{i}.png"
        Image.fromarray(np.full((8, 8, 3), 40 * i, np.uint8)).save(folder / name)
        row = {"prompt": f"secret prompt {i}", "seed": i, "method": "secret_method"}
        rows.append(json.dumps({"file_name": name, **row, "expected": {"subject": "owlet"}}))
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    workspace = Workspace.open(quick_studio)
    with gr.Blocks(analytics_enabled=False) as page:
        tab = LabelTab(workspace)
        tab.connect(page)
    yield tab
    workspace.close()
    del page
    gc.collect()  # while the warnings about Gradio's loops are still ignored


def press(tab, current, action, **data):
    return tab.used(current, SimpleNamespace(_data={"action": action, **data}))


def test_a_picture_is_shown_without_what_would_tell_on_it(tab):
    shown = tab.started("ann", "a_set")[tab.area]
    assert "data:image/webp;base64," in shown
    assert "Owlet" in shown
    assert not any(secret in shown for secret in SECRETS)


def test_answers_are_kept_when_all_are_given(tab):
    current = tab.started("ann", "a_set")[tab.round]
    asked = current.left[0].concepts
    assert len(asked) == 2
    assert press(tab, current, "save")[tab.round].left == current.left  # not before all are answered
    for name in asked:
        current = press(tab, current, "answer", name=name, value="yes" if name == "owlet" else "no")[tab.round]
    current = press(tab, current, "save")[tab.round]
    assert len(current.left) == 2
    [answer] = tab.book.answers()
    assert answer.present == {name: name == "owlet" for name in asked}
    assert tab.book.path == tab.workspace.studio.output_dir / "labels" / "labels.jsonl"


def test_one_goes_on_where_one_stopped(tab):
    current = tab.started("ann", "a_set")[tab.round]
    for _ in range(3):
        for name in current.left[0].concepts:
            current = press(tab, current, "answer", name=name, value="no")[tab.round]
        updates = press(tab, current, "save")
        current = updates[tab.round]
    assert "All 3 pictures are labelled" in updates[tab.area]
    assert tab.started("ann", "a_set")[tab.round].left == ()
    assert len(tab.started("bob", "a_set")[tab.round].left) == 3


def test_a_skipped_picture_comes_last(tab):
    current = tab.started("ann", "a_set")[tab.round]
    skipped = press(tab, current, "skip")[tab.round]
    assert skipped.left == (*current.left[1:], current.left[0])


@pytest.mark.parametrize(
    ("name", "folder", "complaint"),
    [("", "a_set", "need a name"), ("ann", "../a_set", "not there any more"), ("ann", None, "not there any more")],
)
def test_mistakes_are_told(tab, name, folder, complaint):
    assert complaint in tab._guarded(tab.started)(name, folder)[tab.banner]


def test_what_the_browser_may_send_changes_nothing(tab):
    current = tab.started("ann", "a_set")[tab.round]
    for data in ({"name": "../x", "value": "yes"}, {"name": ["owlet"], "value": {}}, {}):
        assert press(tab, current, "answer", **data)[tab.round].answers == {}
    assert press(tab, Round(), "save") == {}
    assert tab.used(current, SimpleNamespace(_data="junk"))[tab.round] == current


def test_more_folders_can_be_named(tab, tmp_path, monkeypatch):
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "metadata.jsonl").write_text("")
    assert "elsewhere" not in tab.folders()
    monkeypatch.setenv("LOOM_LABEL_SETS", str(other))
    assert tab.folders() == {"a_set": tab.workspace.studio.output_dir / "a_set", "elsewhere": other}


def test_without_sets_the_page_says_what_to_do(tab):
    (tab.workspace.studio.output_dir / "a_set" / "metadata.jsonl").unlink()
    assert "Nothing to label yet" in tab.looked()[tab.area]
