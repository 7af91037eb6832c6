"""A training that begins with an existing LoRA begins exactly there, and says why it cannot."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.lora import train_lora


@pytest.fixture(scope="module")
def first(make_pipe, pictures, quick, tmp_path_factory):
    settings = replace(quick, alpha=2.0 * quick.rank, targets="full", file_type="float32", layout="kohya")
    path = tmp_path_factory.mktemp("first") / "first.safetensors"
    train_lora(settings, pictures, make_pipe(), path)
    return settings, path


def test_it_begins_with_the_weights_of_the_other(first, pipe, pictures, tmp_path):
    settings, path = first
    out = tmp_path / "second.safetensors"
    still = replace(settings, steps=1, warmup_steps=0, learning_rate=1e-9, weight_decay=0.0)
    train_lora(still, pictures, pipe, out, start=path)
    one, two = load_file(path), load_file(out)
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], atol=1e-6, rtol=1e-5)
    assert any(bool((one[key] != 0).any()) for key in one if "lora_up" in key)


def test_another_rank_is_refused(first, pipe, pictures, tmp_path):
    settings, path = first
    with pytest.raises(TrainingError, match="another rank"):
        train_lora(
            replace(settings, rank=settings.rank + 1), pictures, pipe, tmp_path / "second.safetensors", start=path
        )


def test_layers_that_are_not_trained_are_refused(first, pipe, pictures, tmp_path):
    settings, path = first
    with pytest.raises(TrainingError, match="does not"):
        train_lora(replace(settings, targets="attention"), pictures, pipe, tmp_path / "second.safetensors", start=path)
