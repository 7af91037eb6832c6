"""A suite says what it means: axes, defaults, and clear words for what cannot be."""

from pathlib import Path

import pytest

from lora_loom.pipelines.errors import SuiteError
from lora_loom.studio.batch.suite import read_suite


def suite(tmp_path, text):
    path = tmp_path / "suite.toml"
    path.write_text(text)
    return read_suite(path)


def test_a_suite_of_one_line_has_defaults(tmp_path):
    found = suite(tmp_path, 'prompts = "p.jsonl"')
    assert (found.name, found.base_model, found.samples, found.layout) == ("suite", "pocket", 1, "folder")
    assert found.prompts.file == tmp_path / "p.jsonl"
    assert found.lora_sets == ((),)
    assert found.methods == (("merge", {}),)


def test_settings_with_several_values_are_axes(tmp_path):
    text = 'prompts = ["a"]\nmethods = [{name = "switch", settings = {switch_every = [1, 2], x = ["a", "b"]}}, "merge"]'
    assert suite(tmp_path, text).methods == (
        ("switch", {"switch_every": 1, "x": "a"}),
        ("switch", {"switch_every": 1, "x": "b"}),
        ("switch", {"switch_every": 2, "x": "a"}),
        ("switch", {"switch_every": 2, "x": "b"}),
        ("merge", {}),
    )


def test_a_preset_knows_its_file(tmp_path):
    source = suite(tmp_path, 'prompts = {preset = "coco", sample = 30000}').prompts
    assert (source.file, source.format, source.sample) == (tmp_path / "captions_val2014.json", "coco", 30000)


def test_what_is_wrong_is_said(tmp_path, subtests):
    cases = [
        ("prompts = ", "not TOML"),
        ("samples = 1", "names no prompts"),
        ('prompts = "p.txt"\nsampels = 2', "Did you mean 'samples'"),
        ('prompts = "p.txt"\nsamples = 0', "samples in suite.toml is out of range"),
        ('prompts = "p.txt"\nlayout = "zip"', "folder or webdataset"),
        ('prompts = "p.txt"\nmethods = []', "methods"),
        ('prompts = "p.txt"\nmethods = [{settings = {}}]', "a method"),
        ('prompts = "p.txt"\nlora_sets = ["fox:much"]', "fox:much"),
        ('prompts = "p.txt"\nlora_sets = [[{name = "fox", wieght = 1}]]', "wieght"),
        ('prompts = "p.txt"\n[request]\nsteps = 3', "unknown key 'steps'"),
        ('prompts = "p.txt"\n[request]\nguidance_scale = []', "no value"),
        ("prompts = {limit = 3}", "names no file"),
        ('prompts = {file = "p", columns = 3}', "columns"),
        ('prompts = "p.txt"\nseeds = [-1]', "a seed"),
        ('prompts = "p.txt"\npicture_seconds = 0', "picture_seconds"),
    ]
    for text, part in cases:
        with subtests.test(text=text, part=part):
            with pytest.raises(SuiteError) as caught:
                suite(tmp_path, text)
            assert part in str(caught.value)


def test_a_missing_suite_is_named(tmp_path):
    with pytest.raises(SuiteError, match=r"none\.toml cannot be read"):
        read_suite(tmp_path / "none.toml")


def test_the_example_is_a_suite_of_the_shipped_loras(tmp_path):
    from lora_loom.studio.batch.plan import plan_batch

    batch = plan_batch(read_suite(Path(__file__).parents[3] / "examples" / "batch_suite.toml"), tmp_path / "out")
    assert len(batch.pictures) == 2 * 4 * 3 * 4
