"""The options of a command line become one request, alone or on top of an old picture's."""

import pytest

from lora_loom.pipelines.errors import RequestError, SettingError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.cli.request_options import asked_for, parse_pairs, parse_size

OLD = GenerationRequest(
    "a fox",
    adapters=(AdapterChoice("ink"),),
    method="switch",
    settings={"switch_every": 2},
    seed=4,
    width=64,
    height=64,
)


def test_options_become_a_request():
    given = {"prompt": "a fox <lora:ink:0.5>", "lora": ["kitsune:0.8", "night"], "size": "64x48", "seed": 3}
    assert asked_for(None, given, {}, []) == GenerationRequest(
        "a fox",
        adapters=(AdapterChoice("kitsune", 0.8), AdapterChoice("night"), AdapterChoice("ink", 0.5)),
        width=64,
        height=48,
        seed=3,
    )


def test_flags_and_pairs_become_settings():
    given = {"prompt": "a fox", "method": "switch"}
    by_flag = asked_for(None, given, {("switch", "switch_every"): 3}, [])
    by_pair = asked_for(None, given, {}, ["switch-every=3"])
    assert by_flag == by_pair
    assert by_flag.settings == {"switch_every": 3}


def test_nothing_given_leaves_an_old_request_as_it_is():
    assert asked_for(OLD, {}, {}, []) == OLD


def test_what_is_given_replaces_what_was():
    new = asked_for(OLD, {"seed": 9, "lora": ["night"]}, {("switch", "switch_every"): 7}, [])
    assert (new.prompt, new.seed, new.adapters, dict(new.settings)) == (
        "a fox",
        9,
        (AdapterChoice("night"),),
        {"switch_every": 7},
    )


def test_a_prompt_without_tags_keeps_the_loras_of_the_old_picture():
    assert asked_for(OLD, {"prompt": "a cat"}, {}, []).adapters == OLD.adapters


def test_settings_stay_with_their_method():
    assert asked_for(OLD, {"method": "merge"}, {}, []).settings == {}
    assert asked_for(OLD, {"method": "switch"}, {}, []).settings == {"switch_every": 2}


def test_a_flag_of_another_method_is_refused():
    with pytest.raises(
        SettingError, match=r"--switch-every is a setting of switch: found method merge\. Add --method switch"
    ):
        asked_for(None, {"prompt": "a fox"}, {("switch", "switch_every"): 3}, [])


def test_a_setting_is_given_once():
    with pytest.raises(SettingError, match="given twice"):
        asked_for(None, {"prompt": "a", "method": "switch"}, {("switch", "switch_every"): 3}, ["switch_every=3"])
    with pytest.raises(SettingError, match="given twice"):
        parse_pairs(["a=1", "a=2"])


def test_a_lora_is_chosen_once():
    with pytest.raises(RequestError, match="ink was chosen twice"):
        asked_for(None, {"prompt": "a <lora:ink:1>", "lora": ["ink:1"]}, {}, [])


def test_a_prompt_is_needed(subtests):
    for prompt in [{}, {"prompt": ""}, {"prompt": "<lora:ink:1>"}]:
        with subtests.test(prompt=prompt), pytest.raises(RequestError, match="prompt"):
            asked_for(None, prompt, {}, [])


def test_pairs_are_read_as_numbers_truth_or_text():
    pairs = parse_pairs(["every=3", "share=0.5", "soft=true", "mode=sum", "empty=", "a=b=c", "list=[1]"])
    assert pairs == {"every": 3, "share": 0.5, "soft": True, "mode": "sum", "empty": "", "a": "b=c", "list": "[1]"}


def test_pairs_need_a_key(subtests):
    for pair in ["every", "=3", ""]:
        with subtests.test(pair=pair), pytest.raises(SettingError, match="key=value"):
            parse_pairs([pair])


def test_sizes_have_two_sides(subtests):
    for text in ["64", "64x", "x64", "-1x64", "64x64x64", "a", "640000x64"]:
        with subtests.test(text=text), pytest.raises(RequestError, match="--size"):
            parse_size(text)


def test_sizes_are_width_then_height():
    assert parse_size("64x48") == (64, 48)
