"""Every kind of setting becomes the field that a form and a flag need."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.registry import methods
from lora_loom.studio.settings_form import FormField, form


@dataclass(frozen=True)
class Example(FusionMethod):
    name: ClassVar[str] = "example"

    every: int = field(default=5, metadata={"help": "How often.", "min": 1, "max": 9})
    share: float = field(default=0.5, metadata={"min": 0.0})
    soft: bool = True
    mode: Literal["mean", "sum"] = "sum"
    note: str = ""

    def compose(self, adapters, num_inference_steps):
        raise AssertionError("a form does not plan")


def test_fields_follow_the_settings():
    assert form(Example) == [
        FormField("every", "integer", 5, 1, 9, help="How often."),
        FormField("share", "number", 0.5, 0.0),
        FormField("soft", "switch", True),
        FormField("mode", "choice", "sum", choices=("mean", "sum")),
        FormField("note", "text", ""),
    ]


def test_a_label_is_for_people():
    assert FormField("switch_every", "integer", 5).label == "Switch every"


def test_every_method_has_a_form_and_explains_its_settings(subtests):
    for method in methods().values():
        with subtests.test(method=method):
            assert all(entry.help for entry in form(method))


def test_a_setting_that_no_form_can_show_is_refused():
    @dataclass(frozen=True)
    class Odd(Example):
        layers: list[int] = field(default_factory=list)

    with pytest.raises(TypeError, match="layers of Odd"):
        form(Odd)
