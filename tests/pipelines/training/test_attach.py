"""The LoRA goes on, starts as nothing, and comes off without a trace."""

import pytest
import torch

from lora_loom.pipelines.training.attach import attached_lora, lora_parameters, lora_tensors
from lora_loom.pipelines.training.load_check import probe
from lora_loom.pipelines.training.settings import LoraTraining

BOTH = LoraTraining(rank=3, alpha=6, targets="full", text_encoder_learning_rate=1e-4)


def structure(pipe):
    return [[(name, type(module)) for name, module in part.named_modules()] for part in (pipe.unet, pipe.text_encoder)]


def test_a_fresh_lora_changes_nothing_and_leaves_no_trace(pipe):
    before, layout = probe(pipe, "a red square", 16), structure(pipe)
    with attached_lora(pipe, BOTH):
        assert torch.equal(probe(pipe, "a red square", 16), before)
        assert structure(pipe) != layout
    assert structure(pipe) == layout
    assert not hasattr(pipe.unet, "peft_config")
    assert torch.equal(probe(pipe, "a red square", 16), before)


def test_it_comes_off_after_an_exception(pipe):
    layout = structure(pipe)
    with pytest.raises(ZeroDivisionError), attached_lora(pipe, BOTH):
        raise ZeroDivisionError
    assert structure(pipe) == layout


def test_only_the_factors_are_trained_and_in_float32(pipe):
    pipe.unet.to(torch.float16)
    pipe.unet.requires_grad_(False)
    with attached_lora(pipe, LoraTraining(rank=3)) as components:
        parameters = lora_parameters(components)
        assert all(".lora_A." in name or ".lora_B." in name for name in parameters)
        assert {value.dtype for value in parameters.values()} == {torch.float32}


def test_the_text_encoders_are_left_alone_by_default(pipe):
    with attached_lora(pipe, LoraTraining()) as components:
        assert list(components) == ["unet"]


def test_tensors_have_the_keys_of_a_lora_file_and_hold_the_scale(pipe):
    pipe.unet.requires_grad_(False)
    pipe.text_encoder.requires_grad_(False)
    with attached_lora(pipe, BOTH) as components:
        parameters = lora_parameters(components)
        for value in parameters.values():
            value.data.fill_(1.0)
        tensors = lora_tensors(components)
    key = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    torch.testing.assert_close(tensors[f"{key}.lora_A.weight"], torch.ones(3, 16))
    torch.testing.assert_close(tensors[f"{key}.lora_B.weight"], torch.full((16, 3), 2.0))  # alpha 6 / rank 3
    assert len(tensors) == len(parameters)
    assert any(key.startswith("text_encoder.") for key in tensors)
