"""RequestField: what is declared of a field is checked, and a field without a declaration is refused."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.requests.fields import RequestField, request_fields


@dataclass(frozen=True)
class Asked:
    words: str = field(metadata=RequestField("Words", "Words.", longest=5).metadata)
    note: str = field(default="", metadata=RequestField("Note", "A note.").metadata)
    count: int = field(default=3, metadata=RequestField("Count", "Number ({default}).", minimum=1, maximum=5).metadata)
    free: int = field(default=3, metadata=RequestField("Free", "Any.").metadata)
    side: int | None = field(default=None, metadata=RequestField("Side", "Pixels.", minimum=1, flag="size").metadata)
    share: float = field(
        default=0.5, metadata=RequestField("Share", "Share ({default}).", minimum=0, maximum=1, start=0.7).metadata
    )
    on: bool = field(default=False, metadata=RequestField("On", "On.").metadata)
    mode: Literal["sum", "mean"] = field(default="sum", metadata=RequestField("Mode", "Mode.").metadata)
    parts: tuple[int, ...] = field(default=(), metadata=RequestField("Parts", "Parts.", suite="parts").metadata)


FOUND = request_fields(Asked)


def test_kinds_come_from_the_types():
    assert {name: each.kind for name, each in FOUND.items()} == {
        "words": "text",
        "note": "text",
        "count": "integer",
        "free": "integer",
        "side": "integer",
        "share": "number",
        "on": "switch",
        "mode": "choice",
        "parts": "other",
    }
    assert [name for name, each in FOUND.items() if each.optional] == ["side"]
    assert [name for name, each in FOUND.items() if each.required] == ["words"]
    assert FOUND["mode"].choices == ("sum", "mean")


def test_what_is_not_said_follows_from_the_field():
    assert (FOUND["share"].flag, FOUND["side"].flag) == ("share", "size")
    assert (FOUND["count"].told, FOUND["share"].told) == ("Number (3).", "Share (0.5).")
    assert [FOUND[name].at_start for name in ("words", "count", "side", "share")] == ["", 3, None, 0.7]
    assert FOUND["count"].axis
    assert not FOUND["parts"].axis


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("count", 5, 5), ("side", None, None), ("share", 1, 1.0), ("on", True, True), ("mode", "mean", "mean")],
)
def test_values_are_kept_in_the_type_of_the_field(name, value, kept):
    found = FOUND[name].checked(value)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("words", " "),
        ("words", "longer"),
        ("note", None),
        ("count", 0),
        ("count", True),
        ("count", 2.0),
        ("free", 2**70),
        ("side", 0),
        ("share", float("nan")),
        ("share", 1.1),
        ("on", 1),
        ("mode", "max"),
        ("mode", ["sum"]),
    ],
)
def test_other_values_are_refused_by_name(name, value):
    with pytest.raises(RequestError, match=name):
        FOUND[name].checked(value)


def test_a_field_without_a_declaration_is_refused():
    @dataclass(frozen=True)
    class Forgotten:
        eta: float = 0.0

    with pytest.raises(TypeError, match=r"Forgotten\.eta has no RequestField"):
        request_fields(Forgotten)
