"""A run that was stopped goes on as if it had not been, and says so where it cannot."""

import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lora_loom.pipelines.errors import CancelledError, TrainingError
from lora_loom.pipelines.training.lora import train_lora

pytestmark = pytest.mark.long


def same(first, second):
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def metrics(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("extra", [{}, {"text_encoder_learning_rate": 1e-2}, {"prior_weight": 1.0, "prior_images": 3}])
def test_a_stopped_run_goes_on_to_the_same_bits(make_pipe, pictures, quick, tmp_path, extra):
    settings = replace(quick, steps=6, schedule="cosine", warmup_steps=2, file_type="float32", **extra)
    train_lora(settings, pictures, make_pipe(), tmp_path / "whole.safetensors")
    out = tmp_path / "halves.safetensors"
    steps = []
    with pytest.raises(CancelledError, match="after step 3 of 6"):
        train_lora(
            settings,
            pictures,
            make_pipe(),
            out,
            on_step=lambda it: steps.append(it.step),
            cancelled=lambda: len(steps) == 3,
        )
    assert not out.exists()
    result = train_lora(settings, pictures, make_pipe(), out, resume=True, on_step=lambda it: steps.append(it.step))
    assert steps == [1, 2, 3, 4, 5, 6]
    assert result.resumed_at == 3
    assert same(tmp_path / "whole.safetensors", out)
    whole = metrics(tmp_path / "whole.training")
    assert [row["loss"] for row in metrics(result.run_folder)] == [row["loss"] for row in whole]


def test_a_finished_run_can_be_made_longer(make_pipe, pictures, quick, tmp_path):
    long = replace(quick, steps=5)
    train_lora(long, pictures, make_pipe(), tmp_path / "long.safetensors")
    train_lora(quick, pictures, make_pipe(), tmp_path / "grown.safetensors")
    train_lora(long, pictures, make_pipe(), tmp_path / "grown.safetensors", resume=True)
    assert same(tmp_path / "long.safetensors", tmp_path / "grown.safetensors")


def test_numbers_after_the_checkpoint_are_dropped_on_resume(make_pipe, pictures, quick, tmp_path):
    result = train_lora(quick, pictures, make_pipe(), tmp_path / "x.safetensors")
    with (result.run_folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "loss": 1}\n{"step": 5, "lo')  # a crash after the last checkpoint
    train_lora(replace(quick, steps=4), pictures, make_pipe(), tmp_path / "x.safetensors", resume=True)
    assert [row["step"] for row in metrics(result.run_folder)] == [1, 2, 3, 4]


def test_ctrl_c_ends_the_step_and_saves(pipe, pictures, quick, tmp_path):
    def press(step):
        if step.step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.default_int_handler
    signal.signal(signal.SIGINT, before)  # a test run in the background ignores Ctrl-C
    with pytest.raises(KeyboardInterrupt):
        train_lora(quick, pictures, pipe, tmp_path / "x.safetensors", on_step=press)
    assert signal.getsignal(signal.SIGINT) is before
    result = train_lora(quick, pictures, pipe, tmp_path / "x.safetensors", resume=True)
    assert result.resumed_at == 2


def test_the_prior_pictures_are_drawn_once_and_kept(make_pipe, pictures, quick, tmp_path, monkeypatch):
    settings = replace(quick, prior_weight=1.0, prior_images=3, trigger="<t00>")
    train_lora(settings, pictures, make_pipe(), tmp_path / "x.safetensors")
    monkeypatch.setattr("lora_loom.pipelines.training.data.prior_latents", None)  # would fail if it were called again
    longer = train_lora(replace(settings, steps=4), pictures, make_pipe(), tmp_path / "x.safetensors", resume=True)
    assert (longer.resumed_at, longer.steps) == (3, 4)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(pipe, pictures, quick, tmp_path):
    settings = replace(quick, steps=50, learning_rate=1.0, max_grad_norm=0.0, save_every=1)

    def spoil(step):
        if step.step == 2:
            for name, value in pipe.unet.named_parameters():
                if "lora_B" in name:
                    value.data.fill_(float("inf"))

    with pytest.raises(TrainingError, match=r"(not finite)"):
        train_lora(settings, pictures, pipe, tmp_path / "x.safetensors", on_step=spoil)
    assert not (tmp_path / "x.safetensors").exists()


def test_resuming_with_other_pictures_is_refused(make_pipe, pictures, quick, tmp_path):
    train_lora(quick, pictures, make_pipe(), tmp_path / "x.safetensors")
    with pytest.raises(TrainingError, match="other pictures"):
        train_lora(replace(quick, steps=4), pictures[:3], make_pipe(), tmp_path / "x.safetensors", resume=True)
