"""The registry finds the methods by reading their folder, and says what it knows when it is asked for another."""

import pytest

from lora_loom.pipelines.errors import SettingError, UnknownMethodError
from lora_loom.pipelines.methods.switch import Switch
from lora_loom.pipelines.registry import create, methods, parsed


def test_every_file_of_the_folder_is_found():
    assert {"merge", "switch", "composite"} <= set(methods())
    assert list(methods()) == sorted(methods())


def test_a_method_is_made_with_its_settings():
    assert create("switch", {"switch_every": 3}) == Switch(switch_every=3)
    assert create("switch") == Switch()


def test_an_unknown_method_lists_the_known_ones():
    with pytest.raises(UnknownMethodError, match=r"'swich'.*composite, .*merge, .*switch.*Did you mean 'switch'"):
        create("swich")


def test_an_unknown_setting_lists_the_known_ones():
    with pytest.raises(SettingError, match=r"switch has no setting 'every'.*switch_every"):
        create("switch", {"every": 3})
    with pytest.raises(SettingError, match="no settings at all"):
        create("merge", {"every": 3})


def test_a_method_with_settings_is_one_text(subtests):
    cases = [
        ("merge", ("merge", {})),
        ("switch:switch_every=2", ("switch", {"switch_every": 2})),
        (" arbiter: where=layers; sharpness=1.5;", ("arbiter", {"where": "layers", "sharpness": 1.5})),
        ("lion:linear=true", ("lion", {"linear": True})),
        ("lion:linear=False", ("lion", {"linear": False})),
    ]
    for text, expected in cases:
        with subtests.test(text=text, expected=expected):
            assert parsed(text) == expected
