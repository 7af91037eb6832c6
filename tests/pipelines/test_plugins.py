"""One registry finds parts in a folder and in installed packages, and says what is wrong with those it leaves out."""

import importlib.metadata
import sys

import pytest

from lora_loom.pipelines.errors import BatchError
from lora_loom.pipelines.plugins import PluginWarning, Registry, classes, did_you_mean, instances, named_entries


class Sound:
    name = ""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A package of sounds; `add(module, text)` writes one of its files."""
    package = tmp_path / "sounds_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(module, text):
        (package / f"{module}.py").write_text(f"from {__name__} import Sound\n{text}")

    yield add
    for name in [name for name in sys.modules if name.startswith("sounds_of_a_test")]:
        del sys.modules[name]


@pytest.fixture
def offer(monkeypatch):
    """Let installed packages offer these entry points, given as NAME = VALUE."""
    made = []
    monkeypatch.setattr("lora_loom.pipelines.plugins.entry_points", lambda group: made)

    def add(name, value):
        made.append(importlib.metadata.EntryPoint(name, value, "test.sounds"))

    return add


@pytest.fixture(autouse=True)
def this_module(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[Sound.__module__])


def sounds(**options):
    options = {"offered": classes(Sound)} | options
    return Registry("sound", folder="sounds_of_a_test", group="test.sounds", **options)


def test_every_file_of_the_folder_is_a_part(folder, offer):
    folder("moo", "class Moo(Sound):\n    name = 'moo'")
    folder("baa", "class Baa(Sound):\n    name = 'baa'")
    folder("_shared", "class Hidden(Sound):\n    name = 'hidden'")
    assert list(sounds().parts) == ["baa", "moo"]


def test_an_object_is_found_under_a_name_in_capitals(folder, offer):
    folder("moo", "MOO = Sound()\nother = Sound()")
    assert list(sounds(offered=instances(Sound), name_of=lambda part, module: module).parts) == ["moo"]


def test_a_package_offers_a_part_or_a_module_of_parts(folder, offer, tmp_path, monkeypatch):
    (tmp_path / "far_away.py").write_text(f"from {__name__} import Sound\nclass Far(Sound):\n    name = 'far'\n")
    offer("far", "far_away:Far")
    assert list(sounds().parts) == ["far"]
    offer("module", "far_away")  # the same part twice is one part
    assert list(sounds().parts) == ["far"]
    del sys.modules["far_away"]


def test_a_name_taken_twice_names_both_places(folder, offer):
    folder("moo", "class Moo(Sound):\n    name = 'moo'")
    folder("cow", "class Cow(Sound):\n    name = 'moo'")
    with pytest.raises(TypeError, match=r"two sounds are called 'moo': .*cow.py and .*moo.py; rename"):
        _ = sounds().parts


def test_a_package_that_breaks_is_told_and_left_out(folder, offer):
    folder("moo", "class Moo(Sound):\n    name = 'moo'")
    offer("broken", "no_such_package_of_a_test:Part")
    with pytest.warns(PluginWarning, match=r"sound no_such_package_of_a_test:Part .* left out: ModuleNotFoundError"):
        assert list(sounds().parts) == ["moo"]


def test_a_module_without_a_part_is_told(folder, offer):
    offer("empty", "json")
    with pytest.warns(PluginWarning, match="json of the package .* holds no sound"):
        assert not sounds().parts


def test_an_unknown_part_lists_the_known_ones(folder, offer):
    folder("moo", "class Moo(Sound):\n    name = 'moo'")
    assert sounds().get("moo", BatchError).name == "moo"
    with pytest.raises(BatchError, match=r"no sound named 'mooo'.*one of moo.*Did you mean 'moo'"):
        sounds().get("mooo", BatchError)


def test_entry_points_by_name(offer):
    offer("one", "json:loads")
    assert named_entries("base", "test.sounds")["one"].load() is not None
    offer("one", "json:dumps")
    with pytest.raises(TypeError, match=r"two bases are called 'one': json:.* and json:.*; remove"):
        named_entries("base", "test.sounds")


def test_what_is_not_close_is_not_guessed():
    assert did_you_mean("swich", ["switch"]) == "Did you mean 'switch'?"
    assert did_you_mean("xyz", ["switch"]) == ""
