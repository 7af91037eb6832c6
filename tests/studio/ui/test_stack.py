"""The stack: adding, editing and reading back what a browser kept."""

import math

from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.ui.stack import (
    StackRow,
    choices,
    edited,
    has_word,
    read_stack,
    stack_view,
    toggled,
    with_word,
    write_stack,
)

STACK = [StackRow("a", 1.0), StackRow("b", 0.5, on=False), StackRow("c", -1.0)]


def names(stacked):
    return [one.name for one in stacked]


def test_what_was_written_is_read():
    assert read_stack(write_stack(STACK)) == STACK


def test_nonsense_from_a_browser_is_an_empty_stack(subtests):
    cases = [None, "text", {"name": "a"}, [1, None, {}], [{"name": "", "strength": 1}]]
    for kept in cases:
        with subtests.test(kept=kept):
            assert read_stack(kept) == []


def test_entries_that_do_not_fit_are_left_out():
    kept = [
        {"name": "a", "strength": "0.5"},
        {"name": "a", "strength": 2},
        {"name": "b", "strength": math.inf},
        {"name": "c", "strength": 1e9},
        {"name": "d" * 1000, "strength": 1},
    ]
    assert read_stack(kept) == [StackRow("a", 0.5)]


def test_only_what_is_switched_on_is_asked_for():
    assert choices(STACK) == (AdapterChoice("a", 1.0), AdapterChoice("c", -1.0))


def test_toggling_adds_at_the_recommended_strength_and_takes_out(tmp_path, write_lora):
    write_lora(tmp_path / "a.safetensors", title="A", strength=0.7)
    (card,) = AdapterLibrary([tmp_path]).cards()
    assert toggled([StackRow("b")], card) == [StackRow("b"), StackRow("a", 0.7)]
    assert names(toggled(STACK, card)) == ["b", "c"]


def test_moving_and_removing(subtests):
    cases = [
        ("up", "1", "bac"),
        ("down", "1", "acb"),
        ("up", "0", "abc"),
        ("down", "2", "abc"),
        ("remove", "1", "ac"),
        ("remove", "7", "abc"),
        ("remove", "-1", "abc"),
        ("remove", "x", "abc"),
        ("explode", "1", "abc"),
    ]
    for action, row, expected in cases:
        with subtests.test(action=action, row=row, expected=expected):
            assert "".join(names(edited(STACK, action, row))) == expected


def test_strength_and_switch():
    assert edited(STACK, "strength", "0", "1.25")[0].strength == 1.25
    assert edited(STACK, "strength", "0", "nan") == STACK
    assert edited(STACK, "strength", "0", "") == STACK
    assert edited(STACK, "switch", "1")[1].on


def test_a_trigger_is_found_as_words_of_its_own():
    assert has_word("a red OWLET, at night", "owlet")
    assert not has_word("owlets at night", "owlet")
    assert has_word("x,golden  crown", "golden crown")


def test_a_trigger_is_inserted_once():
    assert with_word("", "owlet") == "owlet"
    assert with_word("at night, ", "owlet") == "at night, owlet"
    assert with_word("an owlet", "owlet") == "an owlet"


def test_the_view_names_missing_and_changed_files(tmp_path, write_lora):
    write_lora(tmp_path / "a.safetensors", triggers="owlet")
    cards = {card.name: card for card in AdapterLibrary([tmp_path]).cards()}
    view = stack_view([StackRow("a", sha256="0" * 64), StackRow("gone")], cards, tmp_path, "", order_matters=False)
    assert "has changed since" in view
    assert "Not in your library" in view
    unchanged = [StackRow("a", sha256=cards["a"].sha256)]
    assert "click to insert it" in stack_view(unchanged, cards, tmp_path, "", order_matters=False)
    assert "In the prompt" in stack_view(unchanged, cards, tmp_path, "owlet", order_matters=False)


def test_a_row_says_what_of_a_lora_acts_where_that_is_not_all(tmp_path, write_lora):
    write_lora(tmp_path / "a.safetensors", title="A")
    cards = {card.name: card for card in AdapterLibrary([tmp_path]).cards()}
    for in_part, said in (({}, 0), ({"b": "1 <ignored>"}, 0), ({"a": "1 <ignored>"}, 1)):
        view = stack_view([StackRow("a")], cards, tmp_path, "", order_matters=False, in_part=in_part)
        assert view.count("Acts only in part: 1 &lt;ignored&gt;") == said
