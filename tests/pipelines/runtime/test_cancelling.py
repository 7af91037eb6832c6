"""A run stops inside a step, in the text encoder and while decoding, and leaves no hook behind."""

import pytest
import torch

from lora_loom.pipelines.errors import CancelledError
from lora_loom.pipelines.runtime.cancelling import cancellable


def hooks_of(pipe):
    models = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return sum(len(module._forward_pre_hooks) for model in models for module in model.modules())


def test_it_stops_between_two_blocks(pipe, draw):
    asked, ended = [], []

    def cancelled():
        asked.append(1)
        return len(asked) > 12

    def step_end(pipe, step, timestep, tensors):
        ended.append(step)
        return {}

    with pytest.raises(CancelledError), cancellable(pipe, cancelled):
        draw(pipe, callback_on_step_end=step_end)
    assert len(asked) == 13
    assert ended == []
    assert hooks_of(pipe) == 0


def test_it_stops_while_the_picture_is_decoded(pipe, draw):
    steps = []

    def step_end(pipe, step, timestep, tensors):
        steps.append(step)
        return {}

    with pytest.raises(CancelledError), cancellable(pipe, lambda: len(steps) == 3):
        draw(pipe, callback_on_step_end=step_end, output_type="np")


def test_asking_changes_no_picture(pipe, draw):
    with cancellable(pipe, lambda: False):
        found = draw(pipe)
    assert torch.equal(found, draw(pipe))


def test_a_compiled_model_keeps_its_graph(pipes, monkeypatch):
    pipe = pipes("sd15")
    monkeypatch.setattr(pipe.unet, "_compiled_call_impl", object())
    with cancellable(pipe, lambda: False):
        assert sum(len(module._forward_pre_hooks) for module in pipe.unet.modules()) == 0
