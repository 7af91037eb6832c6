"""Attention backends: the same numbers from each, and a clear refusal of one that cannot work."""

import sys
from types import SimpleNamespace

import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnAddedKVProcessor, AttnProcessor, AttnProcessor2_0

from lora_loom.pipelines.attention import use_attention
from lora_loom.pipelines.errors import RequestError


@pytest.fixture
def unet_pipe():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12,
        attention_head_dim=4,
    ).eval()
    return SimpleNamespace(unet=unet, device=torch.device("cpu"), dtype=torch.float32)


@pytest.fixture
def transformer_pipe():
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=16,
        pos_embed_max_size=8,
    ).eval()
    yield SimpleNamespace(transformer=transformer, device=torch.device("cpu"), dtype=torch.float32)
    transformer.set_attention_backend("native")  # diffusers keeps the last one for the whole process


def predict(pipe):
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(1, 4, 8, 8, generator=generator)
    context = torch.randn(1, 5, 12, generator=generator)
    with torch.no_grad():
        if hasattr(pipe, "unet"):
            return pipe.unet(sample, 10, encoder_hidden_states=context).sample
        pooled = torch.randn(1, 16, generator=generator)
        timestep = torch.tensor([10])
        return pipe.transformer(
            sample, timestep=timestep, encoder_hidden_states=context, pooled_projections=pooled
        ).sample


@pytest.mark.parametrize("name", ["default", "sdpa", "eager"])
def test_a_unet_predicts_the_same_with_each(unet_pipe, name):
    before = predict(unet_pipe)
    use_attention(unet_pipe, name)
    torch.testing.assert_close(predict(unet_pipe), before, atol=1e-5, rtol=1e-5)  # float32, another order of sums


@pytest.mark.parametrize("name", ["default", "sdpa", "eager"])
def test_a_transformer_predicts_the_same_with_each(transformer_pipe, name):
    before = predict(transformer_pipe)
    use_attention(transformer_pipe, name)
    torch.testing.assert_close(predict(transformer_pipe), before, atol=1e-5, rtol=1e-5)


def test_the_processors_of_a_unet_are_those_asked_for(unet_pipe):
    for name, kind in (("eager", AttnProcessor), ("sdpa", AttnProcessor2_0)):
        use_attention(unet_pipe, name)
        assert {type(each) for each in unet_pipe.unet.attn_processors.values()} == {kind}


def test_processors_of_another_kind_are_left_alone(unet_pipe):
    special = {name: AttnAddedKVProcessor() for name in unet_pipe.unet.attn_processors}
    unet_pipe.unet.set_attn_processor(dict(special))
    with pytest.raises(RequestError, match="found AttnAddedKVProcessor"):
        use_attention(unet_pipe, "eager")
    assert unet_pipe.unet.attn_processors == special


@pytest.mark.parametrize(
    ("pipe", "match"), [("unet_pipe", "does not fit"), ("transformer_pipe", "no attention called")]
)
def test_an_unknown_name_lists_the_known_ones(request, pipe, match):
    with pytest.raises(RequestError, match=f"{match}.*sdpa, eager, xformers"):
        use_attention(request.getfixturevalue(pipe), "warp")


@pytest.mark.parametrize("pipe", ["unet_pipe", "transformer_pipe"])
@pytest.mark.parametrize("broken", [None, SimpleNamespace(memory_efficient_attention=lambda *_: 1 / 0)])
def test_xformers_that_cannot_work_is_said_and_changes_nothing(request, monkeypatch, pipe, broken):
    monkeypatch.setitem(sys.modules, "xformers", None if broken is None else SimpleNamespace(ops=broken))
    monkeypatch.setitem(sys.modules, "xformers.ops", broken)
    chosen = request.getfixturevalue(pipe)
    before = predict(chosen)
    with pytest.raises(RequestError, match=r"xformers cannot be used here.*Use sdpa"):
        use_attention(chosen, "xformers")
    assert torch.equal(predict(chosen), before)


def test_a_backend_whose_package_is_missing_is_said(transformer_pipe):
    with pytest.raises(RequestError, match="sage cannot be used here"):
        use_attention(transformer_pipe, "sage")
