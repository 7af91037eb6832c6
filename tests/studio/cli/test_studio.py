"""`loom studio`: what it starts, and what it will not start."""

import pytest
from typer.testing import CliRunner

from lora_loom.studio.cli.application import build
from lora_loom.studio.ui import launch as launch_module


@pytest.fixture
def started(monkeypatch):
    calls = []
    monkeypatch.setattr(launch_module, "launch", lambda *args, **more: calls.append((args, more)))
    return calls


def loom(*args, **environment):
    return CliRunner().invoke(build(), ["studio", *args], env=environment)


def test_it_listens_on_this_machine_only(started):
    assert loom("--no-browser").exit_code == 0
    [(args, more)] = started
    assert args == ("127.0.0.1", None)
    assert more == {
        "auth": None,
        "base_model": "pocket",
        "library": (),
        "output_dir": None,
        "open_browser": False,
    }


def test_a_login_comes_from_the_environment(started):
    assert loom("--host", "0.0.0.0", "--port", "8000", LOOM_AUTH="ada:lo:ve").exit_code == 0
    [(args, more)] = started
    assert args == ("0.0.0.0", 8000)
    assert more["auth"] == ("ada", "lo:ve")


def test_listening_elsewhere_without_a_login_is_refused():
    result = loom("--host", "0.0.0.0")
    assert result.exit_code == 2
    assert "0.0.0.0 without a" in result.stderr


@pytest.mark.parametrize("login", ["ada", "ada:", ":love"])
def test_half_a_login_is_refused(started, login):
    result = loom("--auth", login)
    assert result.exit_code == 2
    assert "USER:PASSWORD" in result.stderr
    assert not started


def test_a_taken_port_is_a_message(monkeypatch):
    def taken(*_args, **_more):
        raise OSError("Cannot find empty port in range: 8000-8000.")

    monkeypatch.setattr(launch_module, "launch", taken)
    result = loom("--port", "8000")
    assert result.exit_code == 2
    assert "cannot listen on 127.0.0.1, port 8000" in result.stderr
