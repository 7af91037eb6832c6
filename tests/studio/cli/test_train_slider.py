"""`loom train slider` is stopped and goes on, and loses nothing by accident."""

import functools
import json
import os
import signal

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from lora_loom.pipelines.training import slider as trainer
from lora_loom.pipelines.weight_space.rank_slider import HEADER_KEY
from lora_loom.studio import session
from lora_loom.studio.cli import training_progress
from lora_loom.studio.cli.application import build

QUICK = ("--pictures", "2", "--json")


@pytest.fixture
def loom(monkeypatch, tiny_pocket, write_lora, tmp_path):
    monkeypatch.setattr(session, "library_roots", lambda folders=(): [tmp_path / "loras"])
    write_lora(tmp_path / "loras" / "fox.safetensors", triggers="fox")
    monkeypatch.setattr(trainer, "train_slider", functools.partial(trainer.train_slider, num_inference_steps=2))
    monkeypatch.chdir(tmp_path)
    train = ("train", "slider", "fox", "--base", str(tiny_pocket), *QUICK)
    return lambda *args: CliRunner().invoke(build(), [*train, *map(str, args)])


def slider_in(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()[HEADER_KEY]


@pytest.mark.long
def test_ctrl_c_saves_and_resume_goes_on(loom, monkeypatch, tmp_path):
    assert loom("--out", "whole.safetensors", "--steps", 4).exit_code == 0
    assert len((tmp_path / "whole.training" / "metrics.jsonl").read_text().splitlines()) == 4
    plain = trainer.train_slider

    def pressed(*args, on_step, **how):
        def press(step, loss):
            on_step(step, loss)
            if step == 2:
                os.kill(os.getpid(), signal.SIGINT)

        return plain(*args, on_step=press, **how)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores Ctrl-C
    with monkeypatch.context() as patched:
        patched.setattr(trainer, "train_slider", pressed)
        stopped = loom("--out", "parts.safetensors", "--steps", 4)
    assert stopped.exit_code == training_progress.INTERRUPTED
    error = json.loads(stopped.stdout)["error"]
    assert error["what"] == "the training was stopped after step 2 of 4"
    assert "--resume" in error["remedy"]
    assert "holds a stopped run" in json.loads(loom("--out", "parts.safetensors").stdout)["error"]["message"]
    again = loom("--out", "parts.safetensors", "--steps", 4, "--resume")
    assert again.exit_code == 0, again.output
    assert slider_in("parts.safetensors") == slider_in("whole.safetensors")


@pytest.mark.long
def test_a_file_that_is_there_is_kept(loom):
    assert loom("--out", "a.safetensors", "--steps", 1).exit_code == 0
    refused = loom("--out", "a.safetensors", "--steps", 1)
    assert refused.exit_code == 2
    assert "a.safetensors exists" in json.loads(refused.stdout)["error"]["message"]
    assert loom("--out", "a.safetensors", "--steps", 1, "--overwrite").exit_code == 0
