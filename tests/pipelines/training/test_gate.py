"""Training a gate: it learns, resumes to the bit, imitates a teacher, and refuses what it cannot use."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_loom.pipelines.errors import CancelledError, SettingError, TrainingError
from lora_loom.pipelines.gating.gate_file import load_gate
from lora_loom.pipelines.training.gate import train_gate
from lora_loom.pipelines.training.gate_data import GateItem
from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.pipelines.training.items import TrainingItem

QUICK = {"steps": 4, "batch_size": 2, "hidden": 8, "warmup_steps": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def adapters(pipes, lora_tensors, tmp_path_factory):
    """Three LoRAs as files; the third shouts down the others."""
    folder, files = tmp_path_factory.mktemp("loras"), {}
    for seed, (name, size) in enumerate({"fox": 0.3, "ink": 0.3, "roar": 3.0}.items()):
        files[name] = folder / f"{name}.safetensors"
        save_file(
            lora_tensors(pipes("sd15"), seed, parts=("conv_in", "conv_out"), text=name == "fox", size=size), files[name]
        )
    return files


@pytest.fixture(scope="module")
def items():
    rng = np.random.default_rng(0)
    sets = [("fox", "ink"), ("fox", "roar"), ("fox", "ink", "roar")]
    pictures = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(6)]
    return [
        GateItem(TrainingItem(picture, ("a red cat",), f"picture {index}"), sets[index % 3])
        for index, picture in enumerate(pictures)
    ]


@pytest.fixture
def train(pipes, adapters, items, tmp_path):
    def run(out="gate.safetensors", items=items, adapters=adapters, resume=False, cancelled=None, **settings):
        chosen = GateTraining(**(QUICK | settings))
        base = pipes("sd15")
        before = {key: value.clone() for key, value in base.unet.state_dict().items()}
        try:
            return train_gate(chosen, adapters, items, base, tmp_path / out, resume=resume, cancelled=cancelled)
        finally:
            assert all(torch.equal(value, before[key]) for key, value in base.unet.state_dict().items())
            assert not any("forward" in vars(module) for module in base.unet.modules())

    return run


def losses(result):
    return [json.loads(line)["loss"] for line in (Path(result.run_folder) / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", ["rank", "channel"])
@pytest.mark.long
def test_it_learns_to_turn_down_what_spoils_the_picture(train, kind):
    how = {"kind": kind, "steps": 12, "sets_per_step": 3, "conserve": False}
    untrained = losses(train(**how, learning_rate=1e-9))  # the same pictures, timesteps and noise
    result = train(**how, learning_rate=0.02)
    assert sum(losses(result)[-5:]) < 0.9 * sum(untrained[-5:])
    assert (result.num_sets, result.num_pictures, result.steps) == (3, 6, 12)
    file = load_gate(result.path)
    assert (file.family, file.metadata["adapters"]) == ("pocket", "fox, ink, roar")  # the build of a tiny SD1.5
    assert file.metadata["sets"] == "fox + ink; fox + ink + roar; fox + roar"
    assert sum(value.numel() for value in file.gate.parameters()) == result.num_parameters


@pytest.mark.long
def test_a_stopped_training_goes_on_to_the_same_bits(train):
    whole = train("whole.safetensors", steps=4)
    calls = []
    with pytest.raises(CancelledError, match="step 2 of 4"):
        train("parts.safetensors", steps=4, cancelled=lambda: len(calls) == 1 or calls.append(0))
    parts = train("parts.safetensors", steps=4, resume=True)
    assert parts.resumed_at == 2
    assert losses(parts) == losses(whole)
    first, second = load_file(whole.path), load_file(parts.path)
    assert all(torch.equal(first[key], second[key]) for key in first)
    with pytest.raises(TrainingError, match=r"other settings.*hidden: 8 then, 9 now"):
        train("parts.safetensors", steps=4, hidden=9, resume=True)


@pytest.mark.long
def test_a_teacher_is_imitated(train):
    result = train(objective="teacher", teacher="composite", steps=20, learning_rate=0.1, sets_per_step=2)
    found = losses(result)
    assert sum(found[-4:]) < 0.9 * sum(found[:4])
    assert load_gate(result.path).metadata["objective"] == "teacher composite"


def test_the_sum_teaches_a_new_gate_nothing(train):
    assert max(losses(train(objective="teacher", teacher="merge", steps=1))) < 1e-7


@pytest.mark.parametrize("teacher", ["arbiter:where=output", "arbiter:where=output;sharpness=1.5"])
def test_a_teacher_may_have_settings(train, teacher):
    result = train(objective="teacher", teacher=teacher, steps=1)
    assert load_gate(result.path).metadata["objective"] == f"teacher {teacher}"
    with pytest.raises(TrainingError, match="arbiter cannot teach"):
        train(objective="teacher", teacher="arbiter:where=layers", steps=1)


def test_a_teacher_that_cannot_teach(train):
    with pytest.raises(TrainingError, match="gated cannot teach"):
        train(objective="teacher", teacher="gated", steps=1)


def test_pictures_that_say_nothing_about_composing(train, items):
    alone = GateItem(TrainingItem(items[0].item.picture, ("a cat",), "lonely.png"), ("fox",))
    with pytest.raises(TrainingError, match=r"1 pictures show fewer than two.*lonely.png"):
        train(items=[*items, alone])
    with pytest.raises(TrainingError, match="nothing to train on"):
        train(items=[])
    with pytest.raises(TrainingError, match="shows owl"):
        train(items=[GateItem(items[0].item, ("fox", "owl"))])


def test_settings_out_of_range():
    with pytest.raises(SettingError, match="learning_rate"):
        GateTraining(learning_rate=2.0)
    with pytest.raises(SettingError, match="objective"):
        GateTraining(objective="guess")


def test_the_rate_rises_holds_and_falls():
    settings = GateTraining(steps=30, warmup_steps=5, learning_rate=1e-2)
    rates = [settings.rate_at(step) for step in range(30)]
    assert rates[0] == pytest.approx(2e-3)
    assert rates[4:20] == [1e-2] * 16
    assert rates[29] == pytest.approx(1e-3)
