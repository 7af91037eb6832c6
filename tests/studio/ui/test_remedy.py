"""Remedies: what one click makes of the stack and of the form."""

from types import SimpleNamespace

import pytest

from lora_loom.pipelines.forecast.report import Remedy
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.forecast.forecasts import StackForecast
from lora_loom.studio.ui.remedy import in_use, method_values, offered, remedied
from lora_loom.studio.ui.stack import StackRow

STACK = [
    StackRow("owlet", 0.5, expanded=True),
    StackRow("crown", 1.0),
    StackRow("neon", 2.0, on=False),
    StackRow("gone"),
]


def remedy(*choices, method="merge", **settings):
    return Remedy("Try this", "It helps.", choices, method, settings, ())


@pytest.fixture
def forecast():
    """One of owlet and crown; gone could not be examined."""

    def make(*remedies):
        examined = [SimpleNamespace(name=name, skipped="") for name in ("Owlet", "Crown")]
        report = SimpleNamespace(adapters=examined, remedies=remedies)
        return StackForecast("key", report, {"Owlet": "owlet", "Crown": "crown", "Gone": "gone"})

    return make


def test_strengths_change_and_the_rest_of_the_stack_stays(forecast):
    found = remedied(STACK, remedy(AdapterChoice("Owlet", 0.25), AdapterChoice("Crown", 0.75)), forecast())
    assert found == [StackRow("owlet", 0.25, expanded=True), StackRow("crown", 0.75), *STACK[2:]]


def test_a_lora_that_is_left_out_is_switched_off(forecast):
    found = remedied(STACK, remedy(AdapterChoice("Owlet", 0.5)), forecast())
    assert [one.on for one in found] == [True, False, False, True]


def test_factors_by_block_multiply_those_there_are(forecast):
    stack = [StackRow.of(AdapterChoice("owlet", 0.5, blocks={"text": 0.8, "style": 0.1}, exempt=True)), STACK[1]]
    found = remedied(
        stack, remedy(AdapterChoice("Owlet", 0.5, blocks={"text": 0.5}), AdapterChoice("Crown")), forecast()
    )
    assert found[0].choice == AdapterChoice("owlet", 0.5, blocks={"text": 0.4, "style": 0.1}, exempt=True)
    assert found[1] == STACK[1]


def test_a_method_comes_with_all_of_its_settings():
    values = method_values(remedy(method="lion", norm_consistency=1.0, orthogonality=0.0))
    assert values["method"] == "lion"
    assert values["lion.norm_consistency"] == 1.0
    assert values["lion.priority"] == 1.0
    assert method_values(remedy()) == {}  # strengths hold for the method there is


def test_what_is_in_use_is_known(forecast):
    same = (AdapterChoice("Owlet", 0.5), AdapterChoice("Crown", 1.0))
    apart = remedy(*same, method="lion", orthogonality=0.5)
    values = {"method": "merge", "lion.orthogonality": 0.5}
    assert not in_use(apart, forecast(), STACK, values)
    assert in_use(apart, forecast(), STACK, method_values(apart))
    assert not in_use(apart, forecast(), STACK, {**method_values(apart), "lion.orthogonality": 1.0})
    assert not in_use(remedy(AdapterChoice("Owlet", 0.4), same[1]), forecast(), STACK, values)
    assert in_use(remedy(*same), forecast(), STACK, values)


def test_a_block_is_not_held_back_twice(forecast):
    quieter = remedy(AdapterChoice("Owlet", 0.5, blocks={"text": 0.5}), AdapterChoice("Crown"))
    assert offered(forecast(quieter), STACK) == [(0, quieter)]
    held = [StackRow.of(AdapterChoice("owlet", 0.5, blocks={"text": 0.5})), STACK[1]]
    assert offered(forecast(quieter), held) == []
