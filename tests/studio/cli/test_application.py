"""`loom` finds its commands, and every failure of a person's making is a message with exit code 2."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from lora_loom.pipelines.errors import RequestError
from lora_loom.studio.cli import methods as methods_command
from lora_loom.studio.cli.application import build


@pytest.fixture
def loom():
    return lambda *args: CliRunner().invoke(build(), list(args))


@pytest.fixture
def failing(monkeypatch):
    def command() -> None:
        raise RequestError("the \x1b[2Jprompt is empty", expected="words")

    monkeypatch.setattr(methods_command, "command", command)


def test_every_file_with_a_command_is_one(loom):
    text = loom("--help").stdout
    for name in ("generate", "methods", "studio", "library"):
        assert f" {name} " in text
    for name in ("application", "drawing", "output", "request_options"):
        assert f" {name} " not in text


@pytest.mark.usefixtures("failing")
def test_a_mistake_is_a_message_without_a_traceback(loom):
    result = loom("methods")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr == "loom: the [2Jprompt is empty: expected words.\n"  # and no control characters


def test_the_version_is_that_of_the_distribution(loom, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", {"lora-loom": "1.2.3"}.get)
    assert loom("--version").stdout == "loom 1.2.3\n"


def test_wrong_usage_is_json_too(loom):
    result = loom("generate", "--bogus", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"]["type"] == "UsageError"
    assert "--bogus" in json.loads(result.stdout)["error"]["message"]


def test_an_error_as_json_has_its_parts(loom):
    result = loom("generate", "--json")
    assert result.exit_code == 2
    error = json.loads(result.stdout)["error"]
    assert error["type"] == "RequestError"
    assert error["what"] == "there is no prompt"
    assert {"expected", "remedy", "message"} <= error.keys()


def test_a_prompt_after_two_dashes_is_no_option(loom):
    result = loom("generate", "--size", "64", "--", "--json")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--size cannot be read" in result.stderr


def test_the_entry_point_runs():
    code = "from lora_loom.studio.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "methods", "--json"], capture_output=True, text=True, check=True)
    assert {"merge", "switch", "composite"} <= {method["name"] for method in json.loads(done.stdout)["methods"]}
