"""Training from pictures to a file: it learns, it repeats, and what it draws and saves on the way changes nothing."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lora_loom.pipelines.errors import SettingError, TrainingError
from lora_loom.pipelines.training.lora import train_lora
from lora_loom.pipelines.training.product import LoraWriter
from lora_loom.pipelines.training.run_folder import RunFolder


@pytest.fixture(autouse=True)
def _without_rehearsal(monkeypatch):
    """test_lora_file.py rehearses."""
    monkeypatch.setattr(LoraWriter, "rehearse", lambda writer, device: None)


def same(first, second):
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def metrics(run_folder):
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.long
def test_the_loss_falls_when_one_picture_is_learned(pipe, pictures, quick, tmp_path):
    settings = replace(quick, steps=60, batch_size=4, targets="full", caption_dropout=0.0)
    result = train_lora(settings, pictures[:1], pipe, tmp_path / "one.safetensors")
    losses = [row["loss"] for row in metrics(result.run_folder)]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert result.final_loss == pytest.approx(sum(losses[-50:]) / 50)


@pytest.mark.long
def test_the_same_run_gives_the_same_bits(make_pipe, pictures, quick, tmp_path):
    for name in ("a", "b"):
        torch.manual_seed(hash(name))  # whatever the caller's generator is at
        train_lora(quick, pictures, make_pipe(), tmp_path / f"{name}.safetensors")
    assert same(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    train_lora(replace(quick, seed=1), pictures, make_pipe(), tmp_path / "c.safetensors")
    assert not same(tmp_path / "a.safetensors", tmp_path / "c.safetensors")


@pytest.mark.long
def test_accumulation_equals_the_larger_batch(make_pipe, pictures, quick, tmp_path):
    shared = replace(quick, caption_dropout=0.5, prior_weight=0.5, prior_images=2, file_type="float32")
    train_lora(replace(shared, batch_size=4), pictures, make_pipe(), tmp_path / "one.safetensors")
    train_lora(replace(shared, batch_size=1, accumulation=4), pictures, make_pipe(), tmp_path / "four.safetensors")
    one, four = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "four.safetensors")
    for key in one:  # sums in another order; AdamW divides by the gradient's own size, so small ones show it most
        torch.testing.assert_close(one[key], four[key], atol=1e-4, rtol=1e-3)


@pytest.mark.long
def test_gradient_checkpointing_changes_no_result(make_pipe, pictures, quick, tmp_path):
    for name, saving in (("off", False), ("on", True)):
        settings = replace(quick, gradient_checkpointing=saving, file_type="float32")
        train_lora(settings, pictures, make_pipe(), tmp_path / f"{name}.safetensors")
    off, on = load_file(tmp_path / "off.safetensors"), load_file(tmp_path / "on.safetensors")
    assert all(torch.allclose(off[key], on[key], atol=1e-5) for key in off)


@pytest.mark.parametrize(
    ("prediction_type", "zero_snr"), [("v_prediction", True), ("v_prediction", False), ("epsilon", False)]
)
def test_min_snr_trains_where_it_may_and_is_refused_where_not(
    make_pipe, pictures, quick, tmp_path, prediction_type, zero_snr
):
    pipe, settings = make_pipe(prediction_type, zero_snr=zero_snr), replace(quick, min_snr_gamma=5.0)
    train_lora(quick, pictures, pipe, tmp_path / "x.safetensors")
    if zero_snr:
        with pytest.raises(SettingError, match="ratio of zero"):
            train_lora(settings, pictures, pipe, tmp_path / "y.safetensors")
    else:
        train_lora(settings, pictures, pipe, tmp_path / "y.safetensors")
        assert not same(tmp_path / "x.safetensors", tmp_path / "y.safetensors")


def test_samples_and_snapshots_are_written_on_time(pipe, pictures, quick, tmp_path):
    settings = replace(
        quick, sample_every=2, save_every=2, sample_columns=3, sample_prompts=("a red square", "a picture")
    )
    result = train_lora(settings, pictures, pipe, tmp_path / "x.safetensors")
    assert [path.name for path in sorted((result.run_folder / "samples").iterdir())] == [
        "step-000000.png",
        "step-000002.png",
    ]
    with Image.open(result.run_folder / "samples" / "step-000002.png") as grid:
        assert grid.size == (3 * 16, 2 * 16)
    assert [path.name for path in result.run_folder.glob("*.safetensors")] == ["x-000002.safetensors"]


@pytest.mark.long
def test_samples_change_no_result(make_pipe, pictures, quick, tmp_path):
    train_lora(quick, pictures, make_pipe(), tmp_path / "plain.safetensors")
    train_lora(replace(quick, sample_every=1, save_every=1), pictures, make_pipe(), tmp_path / "drawn.safetensors")
    assert same(tmp_path / "plain.safetensors", tmp_path / "drawn.safetensors")


def test_pictures_of_mixed_sizes_train_together(pipe, quick, tmp_path):
    pairs = [(Image.new("RGB", size, "red"), "a red picture") for size in ((16, 16), (40, 20), (7, 100))]
    assert train_lora(quick, pairs, pipe, tmp_path / "x.safetensors").num_pictures == 3


def test_the_file_needs_its_ending(pipe, pictures, quick, tmp_path):
    with pytest.raises(TrainingError, match=r"ends in \.safetensors"):
        train_lora(quick, pictures, pipe, tmp_path / "x.bin")


def test_only_one_process_writes(tmp_path):
    folder = RunFolder(tmp_path / "run", writes=False)
    folder.begin({}, step=0)
    folder.log({"step": 1})
    folder.sample(1, Image.new("RGB", (1, 1)))
    assert not (tmp_path / "run").exists()
