"""A field of a method's dataclass is a flag of the command line."""

import typer
from typer.testing import CliRunner

from lora_loom.pipelines.registry import methods
from lora_loom.studio.cli.method_flags import flag_name, with_method_flags
from lora_loom.studio.settings_form import form


def run(*args):
    app = typer.Typer()
    received = []

    @with_method_flags
    def draw(prompt: str, *, flags):
        """Draw."""
        received.append((prompt, flags))

    app.command()(draw)
    return CliRunner().invoke(app, list(args), env={"COLUMNS": "200"}), received


def test_the_name_of_the_method_is_said_once():
    assert flag_name("switch", "switch_every") == "--switch-every"
    assert flag_name("cmlora", "interval") == "--cmlora-interval"


def test_only_flags_that_were_given_arrive():
    assert run("a fox")[1] == [("a fox", {})]
    assert run("a fox", "--switch-every", "3")[1] == [("a fox", {("switch", "switch_every"): 3})]


def test_a_value_of_another_type_is_refused():
    result, received = run("a fox", "--switch-every", "often")
    assert result.exit_code == 2
    assert "--switch-every" in result.output
    assert not received


def test_help_explains_every_setting():
    text = " ".join(run("--help")[0].output.split())
    for name, method in methods().items():
        for entry in form(method):
            assert flag_name(name, entry.name) in text
            assert entry.help.split()[0] in text
