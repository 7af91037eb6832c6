"""The layers that get a LoRA are named from the model itself."""

import pytest
from torch import nn

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.pipelines.training.targets import denoiser_targets, text_encoder_targets


def test_attention_is_eight_projections_per_transformer_block(pipe):
    names = denoiser_targets(pipe.unet, "attention")
    blocks = sum(name.endswith("attn1") for name, _ in pipe.unet.named_modules())
    assert len(names) == 8 * blocks
    assert "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0" in names
    assert all(isinstance(pipe.unet.get_submodule(name), nn.Linear) for name in names)


def test_conv_adds_the_convolutions_of_blocks_and_samplers(pipe):
    added = set(denoiser_targets(pipe.unet, "conv")) - set(denoiser_targets(pipe.unet, "attention"))
    assert all(isinstance(pipe.unet.get_submodule(name), nn.Conv2d) for name in added)
    assert {
        "down_blocks.0.resnets.0.conv1",
        "down_blocks.0.downsamplers.0.conv",
        "up_blocks.0.upsamplers.0.conv",
    } <= added
    assert not {"conv_in", "conv_out"} & added


def test_full_adds_feed_forward_and_the_ends_of_transformers(pipe):
    added = set(denoiser_targets(pipe.unet, "full")) - set(denoiser_targets(pipe.unet, "conv"))
    transformer = "mid_block.attentions.0"
    ends = {f"{transformer}.proj_in", f"{transformer}.proj_out"}
    inner = {f"{transformer}.transformer_blocks.0.ff.net.{part}" for part in ("0.proj", "2")}
    assert {name for name in added if name.startswith(transformer)} == ends | inner


def test_text_encoder_targets_are_attention_and_with_full_the_rest(pipe):
    attention = text_encoder_targets(pipe.text_encoder, "conv")
    assert {name.rpartition(".")[2] for name in attention} == {"q_proj", "k_proj", "v_proj", "out_proj"}
    added = set(text_encoder_targets(pipe.text_encoder, "full")) - set(attention)
    assert {name.rpartition(".")[2] for name in added} == {"fc1", "fc2"}


def test_a_model_without_attention_is_refused():
    with pytest.raises(BaseModelError, match="Linear has no layer"):
        denoiser_targets(nn.Linear(2, 2), "attention")
