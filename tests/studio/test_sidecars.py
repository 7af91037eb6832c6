"""Sidecars: every known form is read, the most specific wins, and hostile text becomes short plain text."""

import json

import pytest

from lora_loom.studio.sidecars import MAX_DESCRIPTION, MAX_TRIGGERS, clean_text, find_preview, read_notes


@pytest.fixture
def lora(tmp_path):
    return tmp_path / "ink.safetensors"


def test_a1111_sidecar(lora):
    lora.with_suffix(".json").write_text(
        json.dumps(
            {
                "title": "Ink",
                "category": "style",
                "description": "Bold outlines",
                "activation text": "ink style, bold",
                "tags": ["drawing", "drawing", "black"],
                "preferred weight": 0.7,
            }
        )
    )
    notes = read_notes(lora, {})
    assert (notes.title, notes.category, notes.description) == ("Ink", "style", "Bold outlines")
    assert notes.triggers == ("ink style", "bold")
    assert notes.tags == ("drawing", "black")
    assert notes.strength == 0.7


def test_civitai_info_is_read_and_its_markup_removed(lora):
    data = {
        "trainedWords": ["inkstyle", "thick lines"],
        "baseModel": "SD 1.5",
        "description": "<p>Fine &amp; <b>bold</b></p>",
        "model": {"name": "Ink by someone", "tags": ["style"]},
    }
    lora.with_suffix(".civitai.info").write_text(json.dumps(data))
    notes = read_notes(lora, {})
    assert notes.title == "Ink by someone"
    assert notes.triggers == ("inkstyle", "thick lines")
    assert notes.description == "Fine & bold"
    assert notes.base_model == "SD 1.5"


def test_lora_manager_keeps_usage_tips_as_json_text(lora):
    data = {"model_name": "Ink", "usage_tips": '{"strength": 0.6}', "civitai": {"trainedWords": ["inky"]}}
    lora.with_suffix(".metadata.json").write_text(json.dumps(data))
    notes = read_notes(lora, {})
    assert (notes.title, notes.strength, notes.triggers) == ("Ink", 0.6, ("inky",))


def test_the_header_fills_what_no_sidecar_says(lora):
    lora.with_suffix(".json").write_text('{"title": "From the sidecar"}')
    notes = read_notes(lora, {"modelspec.title": "From the header", "modelspec.trigger_phrase": "inky"})
    assert (notes.title, notes.triggers) == ("From the sidecar", ("inky",))


def test_an_unreadable_sidecar_is_reported_and_the_rest_is_read(lora, subtests):
    for content in [b"{", b"[]", b"\xff\xfe", b'{"title": ' + b"[" * 100_000]:
        with subtests.test(content=content):
            lora.with_suffix(".json").write_bytes(content)
            notes = read_notes(lora, {"modelspec.title": "Ink"})
            assert notes.title == "Ink"
            assert len(notes.unreadable) == 1
            assert notes.unreadable[0].startswith("ink.json")


def test_a_sidecar_with_wrong_types_gives_empty_notes(lora):
    data = {"title": {"a": 1}, "activation text": 7, "tags": {"x": 1}, "preferred weight": "1e9", "description": None}
    lora.with_suffix(".json").write_text(json.dumps(data))
    notes = read_notes(lora, {})
    assert (notes.title, notes.strength, notes.description) == ("", None, "")


def test_a_strength_that_makes_no_sense_is_none(lora, subtests):
    for weight in [0, float("inf"), True, "strong", 11]:
        with subtests.test(weight=weight):
            lora.with_suffix(".json").write_text(json.dumps({"preferred weight": weight}))
            assert read_notes(lora, {}).strength is None


def test_a_megabyte_of_text_is_cut(lora):
    words = ["word" + "x" * 1000] * 1000
    lora.with_suffix(".json").write_text(json.dumps({"description": "a" * 2**20, "activation text": words}))
    notes = read_notes(lora, {})
    assert len(notes.description) == MAX_DESCRIPTION
    assert len(notes.triggers) <= MAX_TRIGGERS


def test_clean_text_removes_what_moves_the_cursor_or_the_reader():
    assert clean_text("a\x1b[2J\u202eb\u0000\nc", 100) == "a[2Jb c"
    assert clean_text(True, 10) == ""


def test_the_preview_with_its_own_name_comes_first(lora):
    assert find_preview(lora) is None
    lora.with_suffix(".png").write_bytes(b"")
    assert find_preview(lora) == lora.with_suffix(".png")
    lora.with_suffix(".preview.png").write_bytes(b"")
    assert find_preview(lora) == lora.with_suffix(".preview.png")
