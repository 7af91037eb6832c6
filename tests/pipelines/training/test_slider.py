"""Training a slider: closer to the teacher than plain strength, exact at its ends, and a pipeline left as it was."""

import dataclasses
import json

import pytest
import torch

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import CancelledError, TrainingError
from lora_loom.pipelines.training.slider import train_slider

PROMPTS = ["a fox", "a bear", "a fox in a forest", "a red fox"]


@pytest.fixture(scope="module")
def fox(tiny_pocket, write_lora, tmp_path_factory):
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(tiny_pocket)
    pipe.set_progress_bar_config(disable=True)
    path = write_lora(tmp_path_factory.mktemp("lora") / "fox.safetensors", rank=4)
    return pipe, load_adapter(path, name="fox", target=BaseTarget.from_pipeline(pipe))


def train(fox, **how):
    pipe, adapter = fox
    return train_slider(pipe, adapter, PROMPTS, num_inference_steps=2, **{"steps": 40, "learning_rate": 0.01, **how})


@pytest.mark.long
def test_the_slider_is_more_linear_than_the_strength(fox):
    losses = []
    trained = train(fox, on_step=lambda step, loss: losses.append((step, loss)))
    assert trained.error < trained.plain
    assert [step for step, _ in losses] == list(range(1, 41))
    for path, gates in trained.slider.gates.items():
        assert torch.equal(gates[:, 0], torch.zeros(trained.adapter.denoiser[path].rank))
        assert torch.allclose(gates[:, 4], torch.ones(len(gates)))
        assert (gates.diff(dim=1) > 0).all()


def test_untrained_it_is_the_strength_itself(fox):
    trained = train(fox, steps=0)
    assert trained.error == pytest.approx(trained.plain, rel=1e-4)
    _, adapter = fox
    half = trained.slider.applied(trained.adapter, 0.5)
    for path, factors in adapter.denoiser.items():
        assert torch.allclose(half.denoiser[path].delta(), 0.5 * factors.delta(), atol=1e-5)


def test_the_pipeline_is_left_as_it_was(fox):
    pipe, _ = fox
    before = {key: value.clone() for key, value in pipe.unet.state_dict().items()}
    pipe.unet.requires_grad_(True)
    train(fox, steps=2)
    assert all(torch.equal(value, before[key]) for key, value in pipe.unet.state_dict().items())
    assert all(value.requires_grad and value.grad is None for value in pipe.unet.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in pipe.unet.modules())


@pytest.mark.long
def test_the_same_seed_trains_the_same_slider(fox):
    first, again = train(fox, steps=3), train(fox, steps=3)
    assert all(torch.equal(gates, again.slider.gates[path]) for path, gates in first.slider.gates.items())


@pytest.mark.long
def test_a_stopped_training_goes_on_to_the_same_bits(fox, tmp_path):
    whole, asked, steps = train(fox, steps=6, run_folder=tmp_path / "whole"), [], []
    how = {"steps": 6, "run_folder": tmp_path / "parts", "on_step": lambda step, loss: steps.append(step)}
    with pytest.raises(CancelledError, match="after step 2 of 6"):
        train(fox, cancelled=lambda: asked.append(0) or len(asked) == 2, **how)
    parts = train(fox, resume=True, **how)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert (parts.plain, parts.error) == (whole.plain, whole.error)
    assert all(torch.equal(gates, parts.slider.gates[path]) for path, gates in whole.slider.gates.items())
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]
    with pytest.raises(TrainingError, match=r"other settings.*learning_rate: 0.01 then, 0.02 now"):
        train(fox, resume=True, learning_rate=0.02, **how)
    pipe, adapter = fox
    louder = dataclasses.replace(adapter, denoiser={path: of.scaled(2.0) for path, of in adapter.denoiser.items()})
    with pytest.raises(TrainingError, match="other"):
        train((pipe, louder), resume=True, **how)


def test_what_cannot_be_trained_is_said(fox):
    pipe, adapter = fox
    with pytest.raises(TrainingError, match="no part on the denoiser"):
        train_slider(pipe, dataclasses.replace(adapter, denoiser={}), PROMPTS)
    with pytest.raises(TrainingError, match="nothing to resume"):
        train_slider(pipe, adapter, PROMPTS, resume=True)
    silent = {path: of.scaled(0.0) for path, of in adapter.denoiser.items()}
    with pytest.raises(TrainingError, match="changes nothing"):
        train_slider(pipe, dataclasses.replace(adapter, denoiser=silent), PROMPTS, num_inference_steps=2)
