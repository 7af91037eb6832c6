"""The details of a stack row: its actions make controls, its view shows them, and nonsense changes nothing."""

import base64
import io

from PIL import Image

from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.control import Region
from lora_loom.studio.ui.controls import BOXES, CURVES, DATA_URL, details, edited_control, proportions_of, summary
from lora_loom.studio.ui.stack import StackRow, choices, edited, read_stack, write_stack

PLAIN = AdapterChoice("fox", 0.8)
LEFT = Region(box=BOXES["left"][1])


def after(*steps, choice=PLAIN, proportions=1.0):
    for action, name, value in steps:
        choice = edited_control(choice, action, name, value, proportions)
    return choice


def painting(width, height, value=255):
    file = io.BytesIO()
    Image.new("RGBA", (width, height), (value, value, value, 255)).save(file, format="PNG")
    return DATA_URL + base64.b64encode(file.getvalue()).decode()


def test_sliders_scale_groups_and_are_gone_at_one():
    assert after(("block", "style", "0.5")).blocks == {"style": 0.5}
    assert after(("block", "style", "0.5"), ("block", "text", "0"), ("block", "style", "1")).blocks == {"text": 0.0}


def test_a_curve_is_a_preset_and_then_four_numbers():
    assert after(("curve", "", "late")).curve == CURVES["late"][1]
    assert after(("curve", "", "late"), ("curve", "", "always")) == PLAIN
    assert after(("curve", "", "late"), ("point", "0", "0.2"), ("point", "3", "1.5")).curve == ((0.2, 0.0), (0.5, 1.5))
    backwards = after(("curve", "", "late"), ("point", "0", "0.9"))
    assert backwards.curve == CURVES["late"][1]


def test_a_region_is_a_box_that_can_be_dragged_typed_and_given_words():
    assert after(("region", "", "left")).region == LEFT
    moved = after(("region", "", "box"), ("side", "left", "10"), ("words", "", "a red fox"))
    assert moved.region == Region(box=(0.1, 0.25, 0.75, 0.75), prompt="a red fox")
    dragged = after(("region", "", "box"), ("words", "", "a fox"), ("drag", "", "0.1,0.2,0.35,1.7"))
    assert dragged.region == Region(box=(0.1, 0.2, 0.35, 1.0), prompt="a fox")
    assert after(("region", "", "left"), ("region", "", "everywhere")) == PLAIN
    assert after(("region", "", "left"), ("drag", "", "0.2,0.2,0.2,0.4")).region == LEFT  # a click is no box


def test_a_region_is_painted_at_the_proportions_of_the_picture():
    blank = after(("region", "", "paint"), proportions=1.5).region
    assert (blank.size, blank.peak) == ((96, 64), 0.0)
    painted = after(("region", "", "paint"), ("words", "", "a fox"), ("paint", "", painting(96, 64)), proportions=1.5)
    assert (painted.region.size, painted.region.peak, painted.region.prompt) == ((96, 64), 1.0, "a fox")


def test_an_exempt_lora_has_no_words_of_its_own():
    found = after(("region", "", "left"), ("words", "", "a fox"), ("exempt", "", ""))
    assert (found.exempt, found.region) == (True, LEFT)
    assert after(("exempt", "", ""), ("exempt", "", "")) == PLAIN


def test_nonsense_from_a_browser_changes_nothing(subtests):
    cases = [
        ("block", "style", "much"),
        ("block", "style", "nan"),
        ("block", "<script>", "0.5"),
        ("curve", "", "sideways"),
        ("point", "first", "0.5"),
        ("point", "0", "7"),
        ("region", "", "nowhere"),
        ("side", "front", "10"),
        ("drag", "", "0.1,0.2"),
        ("paint", "", "data:image/svg+xml,<svg/>"),
        ("paint", "", f"{DATA_URL}AAAA"),
        ("paint", "", painting(96, 96)[:120]),
        ("explode", "", ""),
    ]
    for action, name, value in cases:
        with subtests.test(action=action, name=name, value=value):
            chosen = after(("region", "", "left"))
            assert edited_control(chosen, action, name, value, 1.0) == chosen


def test_the_view_shows_what_is_set_and_escapes_words():
    full = AdapterChoice("fox", 0.8, {"style": 0.5, "up_blocks.0": 0.0}, ((0, 0), (0.3, 1), (0.6, 0)), LEFT)
    view = details(0, full, "A <b>fox</b>", 1.0)
    for shown in ('value="0.5"', "Also up_blocks.0 0.", "A curve of 3 points", "loom-box", "A &lt;b&gt;fox"):
        assert shown in view
    said = AdapterChoice("fox", region=Region(box=LEFT.box, prompt='"><script>alert(1)</script>'))
    assert "<script" not in details(0, said, "fox", 1.0)
    assert "<canvas" in details(0, AdapterChoice("fox", region=after(("region", "", "paint")).region), "fox", 2.0)


def test_a_folded_row_says_it_in_a_few_words():
    assert summary(PLAIN) == ""
    assert summary(after(("block", "style", "0.5"), ("curve", "", "late"), ("region", "", "left"))) == (
        "style 0.5 · late · left"
    )
    assert summary(after(("exempt", "", ""), ("region", "", "box"), ("side", "left", "3"))) == "a region · exempt"
    said = after(("region", "", "box"), ("side", "left", "3"), ("words", "", "a fox"), ("point", "3", "0.5"))
    assert summary(said) == "a curve · a region: “a fox”"


def test_proportions_are_those_of_the_form(subtests):
    cases = [((None, None), 1.0), ((96, None), 1.0), ((96, 64), 1.5), ((0, 64), 1.0), (("a", True), 1.0)]
    for sides, expected in cases:
        with subtests.test(sides=sides, expected=expected):
            assert proportions_of(*sides) == expected


def test_the_stack_keeps_controls_in_the_browser_and_asks_for_them():
    stacked = edited([StackRow("fox", 0.8), StackRow("ink")], "details", "0")
    stacked = edited(stacked, "block", "0", "0.5", "style")
    stacked = edited(stacked, "exempt", "1")
    stacked = edited(stacked, "strength", "0", "0.6")
    assert choices(stacked) == (AdapterChoice("fox", 0.6, {"style": 0.5}), AdapterChoice("ink", exempt=True))
    assert read_stack(write_stack(stacked)) == stacked
    assert [row.expanded for row in stacked] == [True, False]
    assert edited(stacked, "exempt", "1")[1].control is None
    broken = [
        {"name": "fox", "strength": 1, "control": {"name": "fox", "curve": "up"}},
        {"name": "a", "strength": 1, "control": 3},
    ]
    assert read_stack(broken) == [StackRow("fox"), StackRow("a")]
