"""`loom calibrate` and `--linear`: the curve beside the LoRA, and pictures at shares of its effect."""

import functools
import json

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from lora_loom.pipelines.training import slider as trainer
from lora_loom.studio import session
from lora_loom.studio.cli.application import build
from lora_loom.studio.records.record import read_record


@pytest.fixture
def loom(monkeypatch, tiny_pocket, write_lora, tmp_path):
    monkeypatch.setattr(session, "library_roots", lambda folders=(): [tmp_path / "loras"])
    write_lora(tmp_path / "loras" / "fox.safetensors", triggers="fox")
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(build(), [*map(str, args), "--base", str(tiny_pocket)])


def test_a_lora_is_calibrated_and_drawn_by_its_effect(loom, tmp_path):
    done = loom("calibrate", "fox", "--pictures", 2, "--steps", 2, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["path"].endswith("fox.response.json")
    assert said["effects"][0] == 0.0
    assert said["effects"][said["strengths"].index(1.0)] == pytest.approx(1.0)
    done = loom("generate", "a fox", "--lora", "fox:0.4", "--linear", "--steps", 2, "--out", "fox.png")
    assert done.exit_code == 0, done.output
    strength = read_record(tmp_path / "fox.png").request.adapters[0].strength
    assert strength != 0.4
    assert 0.0 < strength < 1.0
    again = loom("generate", "--from", "fox.png", "--linear", "--out", "again.png")
    assert "strengths already" in again.stderr
    merged = loom("merge", "fox:0.4", "--linear", "--out", "half.safetensors", "--json")
    assert json.loads(merged.stdout)["recipe"]["adapters"][0]["strength"] == pytest.approx(strength)


def test_what_fits_of_another_bases_lora_is_calibrated_by_force(loom, tmp_path, write_stranger):
    write_stranger(tmp_path / "loras" / "stranger.safetensors", seed=2)
    options = ("--prompt", "a fox", "--pictures", 1, "--steps", 1)
    refused = loom("calibrate", "stranger", *options)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert not (tmp_path / "loras" / "stranger.response.json").exists()
    done = loom("calibrate", "stranger", "--force", *options)
    assert done.exit_code == 0, done.output
    assert "stranger.safetensors acts only in part" in done.stderr
    assert (tmp_path / "loras" / "stranger.response.json").exists()


@pytest.mark.long
def test_a_slider_is_trained_used_and_exported(loom, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "train_slider", functools.partial(trainer.train_slider, num_inference_steps=2))
    options = ("--steps", 5, "--pictures", 2, "--learning-rate", 0.05, "--at", 0.5)
    done = loom("train", "slider", "fox", "--out", tmp_path / "loras" / "slid.safetensors", *options, "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert 0.0 < said["error_of_slider"] < 1.0
    assert said["paths"][1].endswith("slid-at-0.5.safetensors")
    kwargs = ("--dtype", "float32", "--json")
    loom("merge", "slid:0.5", "--method", "lion", "--out", "half.safetensors", *kwargs)
    loom("merge", "slid-at-0.5", "--out", "same.safetensors", *kwargs)
    loom("merge", "slid:0.5", "--out", "plain.safetensors", *kwargs)
    half, same, unslid = (load_file(tmp_path / f"{name}.safetensors") for name in ("half", "same", "plain"))

    def update(tensors):
        a, b = (next(value for key, value in tensors.items() if part in key) for part in ("lora_A", "lora_B"))
        return b @ a

    assert torch.allclose(update(half), update(same), atol=2e-3)
    assert not torch.allclose(update(half), update(unslid), atol=2e-3)


def test_what_is_missing_is_said(loom, subtests):
    cases = [
        (["generate", "a fox", "--lora", "fox:0.4", "--linear"], "loom calibrate fox"),
        (["calibrate", "wolf"], "no LoRA called wolf"),
        (["calibrate", "fox", "--measure", "judge"], "does not know fox"),
    ]
    for args, words in cases:
        with subtests.test(args=args, words=words):
            done = loom(*args)
            assert done.exit_code == 2
            assert words in done.stderr
