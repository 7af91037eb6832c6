"""A method's settings are checked when it is made, and its adapters when it plans."""

from dataclasses import FrozenInstanceError, dataclass, field, fields
from typing import ClassVar, Literal

import pytest

from lora_loom.pipelines.errors import RequestError, SettingError
from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import base_plan
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import AdapterChoice


@dataclass(frozen=True)
class Toy(FusionMethod):
    name: ClassVar[str] = "toy"
    title: ClassVar[str] = "Toy"
    source: ClassVar[str] = "here"
    when_to_use: ClassVar[str] = "In tests."
    passes_per_step: ClassVar[str] = "1"
    order_matters: ClassVar[bool] = False

    count: int = field(default=1, metadata={"help": "How many.", "min": 1, "max": 3})
    share: float = field(default=0.5, metadata={"help": "How much.", "min": 0.0, "max": 1.0})
    loud: bool = field(default=False, metadata={"help": "Whether."})
    mode: Literal["up", "down"] = field(default="up", metadata={"help": "Which way."})

    def compose(self, adapters, num_inference_steps):
        return base_plan()


def test_settings_are_json_values():
    assert Toy(share=1).settings == {"count": 1, "share": 1.0, "loud": False, "mode": "up"}


def test_a_bad_setting_is_named_with_what_was_expected(subtests):
    cases = [
        ({"count": 0}, "count of toy.*1 to 3"),
        ({"count": 1.0}, "whole number"),
        ({"count": True}, "whole number"),
        ({"share": 1.01}, "0.0 to 1.0"),
        ({"share": float("nan")}, "finite"),
        ({"share": "1"}, "finite number"),
        ({"loud": 1}, "true or false"),
        ({"mode": "left"}, "up, down"),
    ]
    for settings, words in cases:
        with subtests.test(settings=settings, words=words), pytest.raises(SettingError, match=words):
            Toy(**settings)


def test_a_method_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Toy().count = 2


def test_an_adapter_is_chosen_at_most_once():
    with pytest.raises(RequestError, match="fox chosen more than once"):
        Toy().plan([AdapterChoice("fox"), AdapterChoice("fox", 0.5)], 3)


def test_every_method_says_what_it_is(subtests):
    for kind in methods().values():
        with subtests.test(kind=kind):
            assert all((kind.title, kind.source, kind.when_to_use, kind.passes_per_step))
            assert isinstance(kind.exact_for_one, bool)
            assert isinstance(kind.order_matters, bool)
            for setting in fields(kind):
                assert setting.metadata["help"], setting.name
