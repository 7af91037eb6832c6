"""Families that are only recognised: files by keys and widths, as trainers write them, and by their headers."""

import diffusers
import pytest

from lora_loom.pipelines.adapters.base_family import detect_base_family
from lora_loom.pipelines.families import families

JOINT = "transformer.transformer_blocks"


@pytest.mark.parametrize(("key", "width", "family"), [
    ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 1280, "sdxl_refiner"),
    ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 640, "unknown"),
    ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", 16, "unknown"),
    ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", 128, "pocket"),
    ("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj", 3072, "flux2"),
    ("transformer.transformer_blocks.0.ff.linear_in", 3072, "flux2"),
    ("diffusion_model.single_blocks.3.linear2", 12288, "flux2"),
    ("diffusion_model.single_blocks.3.linear2", 15360, "flux"),
    ("lora_unet_double_blocks_0_img_attn_qkv", 4096, "flux2"),
    ("lora_unet_double_blocks_0_img_mlp_2", 9216, "flux2"),
    ("lora_unet_double_blocks_0_img_mlp_2", 12288, "flux"),
    (f"{JOINT}.59.attn.to_q", 3072, "qwen_image"),
    (f"{JOINT}.0.img_mlp.net.0.proj", 3072, "qwen_image"),
    ("lora_unet_transformer_blocks_0_txt_mod_1", 3072, "qwen_image"),
    (f"{JOINT}.37.attn.to_q", 2432, "sd3"),
    (f"{JOINT}.19.attn.to_q", 3072, "unknown"),  # FLUX.1 has 19 of them, others more
    ("diffusion_model.blocks.0.attn.wq", 6144, "krea2"),
    ("base_model.model.txtfusion.projector", 12, "krea2"),
    (f"{JOINT}.0.attn.to_gate", 6144, "krea2"),
    ("diffusion_model.double_stream_blocks.0.block.attn1.to_q", 2560, "hidream"),
    ("transformer.layers.0.attn.to_q", 2304, "lumina2"),
    ("diffusion_model.layers.0.attention.qkv", 2304, "lumina2"),
    ("transformer.joint_transformer_blocks.0.attn.to_q", 3072, "auraflow"),
    ("transformer.single_transformer_blocks.0.ff.linear_1", 3072, "auraflow"),
    ("lora_unet_double_layers_0_attn_w1q", 3072, "auraflow"),
    (f"{JOINT}.27.attn1.to_q", 1152, "pixart"),
    (f"{JOINT}.0.attn1.to_q", 2240, "sana"),
    (f"{JOINT}.0.ff.conv_inverted", 1152, "sana"),
    ("diffusion_model.blocks.0.self_attn.q_proj", 2048, "cosmos"),
    ("lora_unet_blocks_0_cross_attn_output_proj", 2048, "cosmos"),
    ("diffusion_model.llm_adapter.blocks.0.x", 1024, "cosmos"),
    (f"{JOINT}.0.attn2.to_k", 1024, "cosmos"),
    ("diffusion_model.double_blocks.0.img_attn_qkv", 3072, "hunyuan_video"),
    ("lora_unet_double_blocks_0_img_mlp_fc1", 3072, "hunyuan_video"),
    ("transformer.single_transformer_blocks.39.attn.to_q", 3072, "hunyuan_video"),
    ("diffusion_model.double_blocks.53.img_attn_q", 2048, "hunyuan_video"),
    ("diffusion_model.blocks.0.self_attn.q", 5120, "wan_video"),
    ("lora_unet_blocks_0_ffn_0", 1536, "wan_video"),
    ("transformer.blocks.0.attn1.to_q", 3072, "wan_video"),
    (f"{JOINT}.0.attn1.to_q", 2048, "ltx"),
    ("diffusion_model.transformer_blocks.0.attn1.to_q", 4096, "ltx"),
    ("diffusion_model.transformer_blocks.0.audio_attn1.to_q", 2048, "ltx2"),
    ("diffusion_model.transformer_blocks.0.audio_to_video_attn.to_q", 4096, "ltx2"),
    (f"{JOINT}.0.attn1.to_q", 1920, "cogvideox"),
    (f"{JOINT}.41.attn1.to_q", 3072, "cogvideox"),
    (f"{JOINT}.47.attn1.to_q", 3072, "mochi"),
    (f"{JOINT}.0.attn1.add_q_proj", 1536, "mochi"),
    ("diffusion_model.blocks.0.attn.qkv_x", 3072, "mochi"),
    ("transformer.blocks.0.attn1.to_q", 1408, "hunyuan_dit"),
    ("lora_unet_blocks_0_attn1_Wqkv", 1408, "hunyuan_dit"),
    ("lora_te_text_model_encoder_layers_0_self_attn_q_proj", 768, "unknown"),
    ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", 768, "unknown"),
])  # fmt: skip
def test_by_names_and_widths(key, width, family):
    shapes = (
        {f"{key}.lora_down.weight": (4, width)} if "_" in key.split(".")[0] else {f"{key}.lora_A.weight": (4, width)}
    )
    found = detect_base_family(list(shapes), shapes, {})
    assert found.name == family
    assert found.why


@pytest.mark.parametrize(("claim", "family"), [
    ("stable-diffusion-xl-v1-refiner/lora", "sdxl_refiner"),
    ("kolors", "kolors"),
    ("flux2_klein_4b", "flux2"),
    ("qwen_image_edit_2509", "qwen_image"),
    ("krea2", "krea2"),
    ("flux-1-krea-dev", "flux"),
    ("hidream_i1", "hidream"),
    ("lumina2", "lumina2"),
    ("lumina-image-2", "lumina2"),
    ("auraflow-v1", "auraflow"),
    ("pixart-sigma", "pixart"),
    ("sana-sprint", "sana"),
    ("cosmos-predict2", "cosmos"),
    ("anima", "cosmos"),
    ("animagine-sdxl", "sdxl"),
    ("hunyuan-video", "hunyuan_video"),
    ("hunyuan-dit", "hunyuan_dit"),
    ("wan2.1_t2v_14b", "wan_video"),
    ("wan2.2", "wan_video"),
    ("ltxv-2b", "ltx"),
    ("ltx2", "ltx2"),
    ("ltx-video", "ltx"),
    ("ltx-2-19b", "ltx2"),
    ("cogvideox-5b", "cogvideox"),
    ("mochi-1-preview", "mochi"),
    ("what i want", "unknown"),
])  # fmt: skip
def test_by_the_header(claim, family):
    found = detect_base_family(["x"], {"x": ()}, {"modelspec.architecture": claim})
    assert found.name == family


def test_kolors_has_the_shapes_of_sdxl_so_its_header_decides():
    key = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.weight"
    for metadata, family in (({}, "sdxl"), ({"ss_base_model_version": "kolors"}, "kolors")):
        assert detect_base_family([key], {key: (4, 2048)}, metadata).name == family


def test_classes_that_the_recognised_families_name_are_diffusers_own():
    for family in families().values():
        assert family.claims
        assert family.evidence
        for name in (*family.pipelines, family.denoiser):
            assert not name or hasattr(diffusers, name), name
