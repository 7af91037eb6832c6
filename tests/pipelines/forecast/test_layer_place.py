"""The group, depth and stage of layers on the four families and on text encoders."""

from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.forecast.layer_place import DEPTHS, GROUPS, THIRDS, UNET_DEPTHS, LayerPlaces

UNET = [
    ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "self-attention qk", "down", "down 1.0"),
    ("mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0", "self-attention vo", "mid", "mid 0"),
    ("up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_v", "cross-attention kv", "up", "up 2.1"),
    ("up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_q", "cross-attention qo", "up", "up 2.1"),
    ("down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj", "feed-forward", "down", "down 0.0"),
    ("down_blocks.0.resnets.1.conv1", "convolution", "down", "down 0.1"),
    ("down_blocks.0.attentions.0.proj_in", "other", "down", "down 0.0"),
    ("conv_in", "convolution", "down", "input"),
    ("time_embedding.linear_1", "other", "down", "input"),
    ("conv_out", "convolution", "up", "output"),
]
FLUX = [
    ("transformer_blocks.0.attn.to_k", "self-attention qk", "early", "block 0"),
    ("transformer_blocks.1.attn.add_k_proj", "text stream", "early", "block 1"),
    ("single_transformer_blocks.0.attn.to_v", "self-attention vo", "middle", "block 2"),
    ("single_transformer_blocks.3.proj_mlp", "feed-forward", "late", "block 5"),
    ("x_embedder", "other", "early", "input"),
    ("proj_out", "other", "late", "output"),
]


def test_layers_of_a_unet(subtests):
    for path, group, depth, stage in UNET:
        with subtests.test(path=path, group=group, depth=depth, stage=stage):
            place = LayerPlaces({"denoiser": [path, "mid_block.resnets.0.conv1"]}).of("denoiser", path)
            assert (place.group, place.depth, place.stage) == (group, depth, stage)


def test_layers_of_a_transformer(subtests):
    for path, group, depth, stage in FLUX:
        with subtests.test(path=path, group=group, depth=depth, stage=stage):
            paths = [f"transformer_blocks.{i}.x" for i in range(2)] + [
                f"single_transformer_blocks.{i}.x" for i in range(4)
            ]
            place = LayerPlaces({"denoiser": paths}).of("denoiser", path)
            assert (place.group, place.depth, place.stage) == (group, depth, stage)


def test_a_text_encoder_is_one_group_by_depth():
    paths = [f"encoder.layers.{i}.self_attn.q_proj" for i in range(3)]
    places = LayerPlaces({"text_encoder": paths})
    assert [places.of("text_encoder", path).depth for path in paths] == ["early", "middle", "late"]
    assert {places.of("text_encoder", path).group for path in paths} == {"text encoder"}


def test_every_layer_of_every_family_has_a_place(pipe, family):
    target = BaseTarget.from_pipeline(pipe)
    places = LayerPlaces(target.components)
    found = [places.of(component, path) for component, paths in target.components.items() for path in paths]
    assert {place.group for place in found} <= set(GROUPS)
    assert {place.depth for place in found} <= set(DEPTHS)
    denoiser = [places.of("denoiser", path) for path in target.components["denoiser"]]
    others = sum(place.group == "other" for place in denoiser) / len(denoiser)
    assert others < 0.4  # projections, embeddings and modulations
    depths = {place.depth for place in denoiser}  # what stands outside a UNet's three parts is early or late
    assert depths >= set(UNET_DEPTHS) if family in ("sd15", "sdxl") else depths == set(THIRDS)
