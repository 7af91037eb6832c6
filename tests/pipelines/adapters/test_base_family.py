"""Which base a file is for, from its header, its names and its shapes."""

import pytest

from lora_loom.pipelines.adapters.base_family import detect_base_family

ATTENTION = "transformer_blocks_0_attn2_to_k.lora_down.weight"


@pytest.mark.parametrize(("shapes", "family", "why"), [
    ({f"lora_unet_down_blocks_0_attentions_0_{ATTENTION}": (8, 768)}, "sd15", "width 768"),
    ({f"lora_unet_down_blocks_0_attentions_0_{ATTENTION}": (8, 1024)}, "sd2", "width 1024"),
    ({f"lora_unet_input_blocks_4_1_{ATTENTION}": (8, 2048)}, "sdxl", "width 2048"),
    ({f"lora_unet_down_blocks_0_attentions_0_{ATTENTION}": (8, 128)}, "pocket", "width 128"),
    ({"unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v.lora_A.weight": (8, 768)}, "sd15", "width 768"),
    ({"unet.mid_block.attentions.0.x.attn2.processor.to_k_lora.down.weight": (4, 768)}, "sd15", "768"),
    ({"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.hada_w1_b": (4, 2048)}, "sdxl", "width 2048"),
    ({"lora_unet_input_blocks_4_1_transformer_blocks_7_ff_net_2.lora_down.weight": (8, 5120)}, "sdxl", "deep"),
    ({"lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": (8, 1280)}, "unknown", "no shape tells"),
    ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (8, 1280)}, "unknown", "only text encoders"),
    ({"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (8, 3072)}, "flux", "double and single"),
    ({"transformer.single_transformer_blocks.3.attn.to_q.lora_A.weight": (8, 3072)}, "flux", "double and single"),
    ({"diffusion_model.single_blocks.47.linear1.lora_A.weight": (8, 6144)}, "flux2", "width 6144"),
    ({"diffusion_model.double_stream_modulation_img.lin.lora_A.weight": (8, 6144)}, "flux2", "FLUX.2"),
    ({"diffusion_model.distilled_guidance_layer.in_proj.lora_A.weight": (8, 64)}, "chroma", "modulation network"),
    ({"lora_unet_layers_0_attention_to_q.lora_down.weight": (8, 64)}, "zimage", "blocks of Z-Image"),
    ({"diffusion_model.layers.0.attention.qkv.lora_A.weight": (8, 3840)}, "zimage", "width 3840"),
    ({"diffusion_model.layers.0.attention.qkv.lora_A.weight": (8, 999)}, "unknown", "Z-Image, and no shape"),
    ({"lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight": (8, 1536)}, "sd3", "joint blocks"),
    ({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": (8, 1536)}, "sd3", "width 1536"),
    ({"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": (8, 3072)}, "flux", "width 3072"),
    ({"transformer.transformer_blocks.0.attn2.to_q.lora_A.weight": (8, 64)}, "sd3", "joint blocks"),
    ({"transformer.transformer_blocks.0.attn.add_q_proj.lora_A.weight": (8, 64)}, "unknown", "FLUX or SD3"),
    ({"weight": (3, 3)}, "unknown", "do not say"),
])  # fmt: skip
def test_names_and_shapes(shapes, family, why):
    found = detect_base_family(list(shapes), shapes, {})
    assert found.name == family
    assert why in found.why


@pytest.mark.parametrize(("metadata", "family"), [
    ({"modelspec.architecture": "loom-pocket/lora"}, "pocket"),
    ({"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}, "sdxl"),
    ({"modelspec.architecture": "stable-diffusion-v1/lora"}, "sd15"),
    ({"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}, "sd2"),
    ({"modelspec.architecture": "stable-diffusion-3-medium/lora"}, "sd3"),
    ({"modelspec.architecture": "flux-1-dev/lora"}, "flux"),
    ({"modelspec.architecture": "flux-2-dev/lora"}, "flux2"),
    ({"modelspec.architecture": "chroma/lora"}, "chroma"),
    ({"ss_base_model_version": "zimage_turbo"}, "zimage"),
    ({"ss_base_model_version": "sd_v1"}, "sd15"),
    ({"ss_base_model_version": "sd_v2_768_v"}, "sd2"),
    ({"ss_base_model_version": "sdxl_base_v1-0"}, "sdxl"),
    ({"ss_base_model_version": "sd3m"}, "sd3"),
    ({"ss_base_model_version": "flux1"}, "flux"),
    ({"modelspec.architecture": "what is this", "ss_base_model_version": "sd_v1"}, "sd15"),
])  # fmt: skip
def test_claims_of_the_header_where_nothing_contradicts_them(metadata, family):
    found = detect_base_family(["lora_te_x.alpha"], {"lora_te_x.alpha": ()}, metadata)
    assert found.name == family
    assert next(iter(metadata)) in found.why or "ss_base_model_version" in found.why


def test_a_shape_is_right_where_the_header_claims_something_else():
    shapes = {f"lora_unet_down_blocks_0_attentions_0_{ATTENTION}": (8, 768)}
    found = detect_base_family(list(shapes), shapes, {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"})
    assert found.name == "sd15"
    assert "although its modelspec.architecture is stable-diffusion-xl" in found.why


def test_a_claim_decides_between_relatives_whose_blocks_are_alike():
    shapes = {"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": (8, 3072)}
    assert detect_base_family(list(shapes), shapes, {"modelspec.architecture": "chroma/lora"}).name == "chroma"
    shapes["lora_unet_double_blocks_0_img_mod_lin.lora_down.weight"] = (8, 3072)
    found = detect_base_family(list(shapes), shapes, {"modelspec.architecture": "chroma/lora"})
    assert (found.name, "although" in found.why) == ("flux", True)


def test_bases_know_their_family(bases):
    assert {name: base.target.family for name, base in bases.items()} == {
        "sd15": "pocket",  # its text is 16 wide, which is what makes a pocket base
        "sdxl": "sdxl",
        "sd3": "sd3",
        "flux": "flux",
    }
