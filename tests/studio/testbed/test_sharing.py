"""The multi-process service is started only where it is wanted and works, and always ended."""

import os
import stat
from pathlib import Path

import pytest

from lora_loom.studio.testbed import sharing
from lora_loom.studio.testbed.sharing import shared_device


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the daemon that writes down how it is called."""
    path = tmp_path / sharing.CONTROL
    path.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n[ "$1" = -d ] || cat >>{tmp_path}/calls\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path / "calls"


def test_it_runs_and_ends(control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "PROBE", "pass")
    with shared_device(True) as works:
        assert works
        assert "CUDA_MPS_PIPE_DIRECTORY" in os.environ
    assert control.read_text() == "-d\n\nquit\n"
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ


def test_a_service_that_no_process_can_use_is_left_alone(
    control: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "PROBE", "raise SystemExit(1)")
    with shared_device(True) as works:
        assert not works
        assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert control.read_text().endswith("quit\n")
    assert "does not work here" in capsys.readouterr().err


def test_it_is_not_there_or_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "CONTROL", "no-such-daemon")
    with shared_device(True) as works:
        assert not works
    assert "not installed" in capsys.readouterr().err
    with shared_device(False) as works:
        assert not works
