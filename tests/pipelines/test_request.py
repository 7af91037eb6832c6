"""GenerationRequest: it survives JSON, equals only its equals, and refuses what cannot be drawn."""

import json
import pickle

import pytest

from lora_loom.pipelines.errors import RequestError, SettingError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest

FULL = GenerationRequest(
    prompt="a fox, 狐 🦊",
    negative_prompt="blur",
    adapters=(AdapterChoice("kitsune", 0.8), AdapterChoice("styles/ink", -0.5)),
    method="switch",
    settings={"switch_every": 3, "soft": True, "mode": "a", "share": 0.25},
    scheduler="ddim",
    num_inference_steps=7,
    guidance_scale=4.5,
    width=64,
    height=48,
    num_images_per_prompt=2,
    seed=9,
)


@pytest.mark.parametrize("request_", [FULL, GenerationRequest("a fox")])
def test_json_round_trip(request_):
    assert GenerationRequest.from_json(request_.to_json()) == request_
    assert GenerationRequest.from_dict(json.loads(json.dumps(request_.to_dict()))) == request_


def test_pickle_round_trip_and_hash():
    copy = pickle.loads(pickle.dumps(FULL))
    assert copy == FULL
    assert hash(copy) == hash(FULL)


def test_whole_numbers_are_taken_as_floats():
    request = GenerationRequest("a fox", adapters=(AdapterChoice("a", 1),), guidance_scale=3)
    assert request == GenerationRequest("a fox", adapters=(AdapterChoice("a", 1.0),), guidance_scale=3.0)
    assert '"strength": 1.0' in request.to_json()


def test_the_caller_cannot_change_a_request_afterwards():
    settings = {"switch_every": 3}
    request = GenerationRequest("a fox", settings=settings)
    settings["switch_every"] = 4
    assert request.settings["switch_every"] == 3
    with pytest.raises(TypeError):
        request.settings["switch_every"] = 5  # a read-only mapping


def test_what_cannot_be_drawn_is_refused(subtests):
    cases = [
        ("prompt", ""),
        ("prompt", " \n"),
        ("prompt", 3),
        ("prompt", "x" * 20_001),
        ("prompt", "\ud800"),
        ("negative_prompt", None),
        ("method", ""),
        ("base_model", ""),
        ("scheduler", 1),
        ("num_inference_steps", 0),
        ("num_inference_steps", 2.0),
        ("num_inference_steps", True),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
        ("guidance_scale", "3"),
        ("width", 0),
        ("height", 10**6),
        ("num_images_per_prompt", 0),
        ("seed", -1),
        ("seed", 2**63),
        ("seed", 1.5),
        ("adapters", "kitsune"),
        ("adapters", ("kitsune",)),
        ("adapters", (AdapterChoice("a"), AdapterChoice("a", 0.5))),
        ("adapters", tuple(AdapterChoice(str(k)) for k in range(65))),
    ]
    for field, value in cases:
        with subtests.test(field=field, value=value):
            values = {"prompt": "a fox", field: value}
            with pytest.raises(RequestError):
                GenerationRequest(**values)


def test_settings_hold_plain_finite_values(subtests):
    for settings in [{"a": None}, {"a": [1]}, {"a": float("nan")}, {1: 2}, [("a", 1)]]:
        with subtests.test(settings=settings), pytest.raises(SettingError):
            GenerationRequest("a fox", settings=settings)


def test_a_strength_is_a_finite_number(subtests):
    for strength in [float("nan"), float("-inf"), 101, "1", None, True]:
        with subtests.test(strength=strength), pytest.raises(RequestError, match="strength of kitsune"):
            AdapterChoice("kitsune", strength)


def test_other_json_is_refused(subtests):
    cases = [
        ("", "not JSON"),
        ("[1]", "not an object"),
        ("[" * 100_000, "not JSON"),
        ('{"prompt": "a", "promt": "b"}', "unknown keys.*promt"),
        ("{}", "lacks prompt"),
        ('{"prompt": "a", "adapters": {"name": "x"}}', "adapters is not a list"),
        ('{"prompt": "a", "adapters": [{"name": "x", "weight": 1}]}', "unknown keys.*weight"),
        ('{"prompt": "a", "guidance_scale": NaN}', "NaN as a number"),
    ]
    for text, match in cases:
        with subtests.test(text=text, match=match), pytest.raises(RequestError, match=match):
            GenerationRequest.from_json(text)
