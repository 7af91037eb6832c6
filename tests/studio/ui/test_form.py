"""The form: values become a request and come back, and what is wrong with them is said."""

import pytest

from lora_loom.pipelines.errors import RequestError, SettingError, UnknownMethodError
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.records.record import GenerationRecord
from lora_loom.studio.ui.form import (
    form_fields,
    lost_in_form,
    read_draft,
    read_form,
    request_of_one,
    stack_of,
    write_form,
)
from lora_loom.studio.ui.stack import StackRow

STACK = [StackRow("owlet", 0.8), StackRow("crown", 1.0, on=False)]


def values(**changes):
    return {**read_draft({}), "prompt": "an owlet", **changes}


def test_the_form_describes_a_request():
    request = read_form(values(method="switch", num_inference_steps=7.0, width=64), STACK, "tiny")
    assert request.adapters == (AdapterChoice("owlet", 0.8),)
    assert (request.base_model, request.num_inference_steps, request.width, request.height) == ("tiny", 7, 64, None)
    assert request.settings == {"switch_every": 5}


def test_a_zero_in_an_empty_field_is_nothing():
    assert read_form(values(width=0, height=0.0), STACK, "tiny").width is None


def test_a_request_comes_back_out_of_the_form(subtests):
    for method in methods():
        with subtests.test(method=method):
            request = read_form(values(method=method, seed=5, guidance_scale=2.5), STACK, "tiny")
            assert read_form({**values(), **write_form(request)}, STACK, "tiny") == request


def test_settings_that_a_request_leaves_out_are_not_those_that_stood_in_the_form():
    before = values(method="switch", **{"switch.switch_every": 9})
    restored = {**before, **write_form(GenerationRequest("an owlet", method="switch"))}
    assert read_form(restored, [], "tiny").settings == {"switch_every": 5}


def test_what_the_form_cannot_hold_is_named():
    assert lost_in_form(GenerationRequest("x", method="switch", settings={"gone": 2})) == ["gone"]
    assert "nonsense" in lost_in_form(GenerationRequest("x", method="nonsense"))[0]


def test_lora_tags_in_the_prompt_join_the_stack():
    request = read_form(values(prompt="an owlet <lora:neon:0.5> at night"), STACK, "tiny")
    assert (request.prompt, request.adapters[-1]) == ("an owlet at night", AdapterChoice("neon", 0.5))


def test_bad_values_are_explained(subtests):
    cases = [
        ({"prompt": "  "}, RequestError, "prompt is empty"),
        ({"prompt": None}, RequestError, "prompt is empty"),
        ({"seed": None}, RequestError, "seed is empty"),
        ({"width": 63.5}, RequestError, "not a whole number"),
        ({"num_inference_steps": 0}, RequestError, "out of range"),
        ({"num_images_per_prompt": 1000}, RequestError, "out of range"),
        ({"method": "nonsense"}, UnknownMethodError, "nonsense"),
        ({"method": "switch", "switch.switch_every": None}, SettingError, "is empty"),
    ]
    for change, error, words in cases:
        with subtests.test(change=change, error=error, words=words), pytest.raises(error, match=words):
            read_form(values(**change), STACK, "tiny")


def test_a_draft_keeps_what_fits_and_nothing_else():
    kept = {
        "prompt": "kept",
        "seed": "text",
        "width": None,
        "height": 64,
        "method": "gone",
        "new_seed": True,
        "switch.switch_every": 9,
        "unknown": 1,
        "negative_prompt": ["x"],
        "num_inference_steps": True,
    }
    draft = read_draft(kept)
    assert (draft["prompt"], draft["seed"], draft["height"], draft["method"]) == (
        "kept",
        form_fields()["seed"].at_start,
        64,
        "merge",
    )
    assert (draft["new_seed"], draft["switch.switch_every"], draft["negative_prompt"]) == (True, 9, "")
    assert draft["num_inference_steps"] == form_fields()["num_inference_steps"].at_start
    assert "unknown" not in draft
    assert read_draft("nonsense") == read_draft({})


def test_one_picture_of_a_run_is_asked_for_by_its_own_seed():
    request = GenerationRequest("x", adapters=(AdapterChoice("owlet"),), num_images_per_prompt=3, seed=10)
    record = GenerationRecord(request, adapter_sha256={"owlet": "a" * 64}, image_index=2)
    one = request_of_one(record)
    assert (one.seed, one.num_images_per_prompt) == (12, 1)
    assert stack_of(record) == [StackRow("owlet", sha256="a" * 64)]
