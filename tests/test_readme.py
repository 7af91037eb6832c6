"""The README keeps its word: its Python runs, its commands exist, its tables and links are true."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.plan import StepState
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.cli.application import build
from lora_loom.studio.cli.methods import markdown_table

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)).replace("\\\n", " ")
NOTEBOOK, METHOD = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def commands(program: str) -> list[list[str]]:
    lines = (shlex.split(line, comments=True) for line in SHELL.splitlines())
    return [words[1:] for words in lines if words and words[0] == program]


def help_of(words: list[str]) -> str:
    """The help of the command that starts with `words`, its options left out."""
    result = CliRunner().invoke(build(), [*words, "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def command_words(words: list[str]) -> list[str]:
    """`generate`, or `library show`: a group is followed by one more word."""
    return words[:2] if "COMMAND" in help_of(words[:1]) else words[:1]


def test_the_readme_shows_commands():
    assert len(commands("loom")) >= 5
    assert len(commands("make")) >= 2


def test_a_command_exists_with_its_options(subtests):
    for words in commands("loom"):
        with subtests.test(words=words):
            text = help_of(command_words(words))
            for option in (word for word in words if word.startswith("--")):
                assert f"{option} " in text


@pytest.mark.parametrize("words", commands("make"), ids=" ".join)
def test_a_make_target_exists(words):
    assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_method_table_is_that_of_the_registry():
    table = re.search(r"<!-- methods:[^>]*-->\n(.*?)<!-- /methods -->", README, re.DOTALL)
    assert table
    assert table[1].strip() == markdown_table(), "write the output of `loom methods --markdown` into the README"


def test_a_module_of_the_table_exists(subtests):
    for name in re.findall(r"^\| `([\w.]+/[\w./]*|\w+\.py)` \|", README, re.MULTILINE):
        with subtests.test(name=name):
            assert (ROOT / name).exists()


def test_a_link_leads_somewhere(subtests):
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        with subtests.test(target=target):
            assert target.startswith("https://") or (ROOT / target).is_file()


def test_the_example_of_a_method_is_one():
    names = {"__name__": "readme_method"}
    exec(METHOD, names)
    method = names["Handover"](at=0.5)
    assert isinstance(method, FusionMethod)
    plan = method.plan((AdapterChoice("a", 0.7), AdapterChoice("b")), 4)
    gates = [
        plan.schedule(StepState(index=k, num_inference_steps=4, progress=k / 4, timestep=0.0, sample=None))[0].gates
        for k in range(4)
    ]
    assert gates == [{"a": 0.7}, {"a": 0.7}, {"b": 1.0}, {"b": 1.0}]


@pytest.mark.long
def test_the_notebook_example_draws_a_picture():
    names = {"__name__": "readme_notebook"}
    exec(NOTEBOOK, names)
    picture = names["picture"]
    assert picture.width == picture.height
    assert len(set(picture.convert("RGB").get_flattened_data())) > 50


def test_every_promise_of_security_names_tests_that_exist():
    promises = re.search(r"## What is promised\n(.*?)\nCode that runs", (ROOT / "SECURITY.md").read_text(), re.DOTALL)[
        1
    ]
    for promise in re.split(r"\n(?=\d+\. )", promises)[1:]:
        named = re.findall(r"`([\w/]*(?:test_\w+\.py|\w+/))`", promise)
        assert named, promise
        folder = ROOT / "tests"
        for name in named:
            path = folder / name if "/" in name else folder / named[0].rpartition("/")[0] / name
            assert path.exists(), name
