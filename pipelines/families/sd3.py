"""Stable Diffusion 3 and 3.5: a transformer of joint blocks with three text encoders."""

from __future__ import annotations

from lora_loom.pipelines.adapters.naming.mmdit import mmdit_names
from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Call, Defaults, Family, FileLayout, PipelineNames, Sign, Sizes

FAMILY = Family(
    name="sd3",
    title="SD3",
    pipelines=PipelineNames(
        text="StableDiffusion3Pipeline",
        image="StableDiffusion3Img2ImgPipeline",
        inpaint="StableDiffusion3InpaintPipeline",
        control="StableDiffusion3ControlNetPipeline",
    ),
    denoiser="SD3Transformer2DModel",
    call=Call(text=("encoder_hidden_states", "pooled_projections")),
    text_encoders=(builds.CLIP_L, builds.CLIP_G, builds.t5("text_encoder_3")),
    blocks=builds.joint_blocks(single=False),
    sizes=Sizes(latents=2),
    defaults=Defaults(steps=28, guidance=7.0),
    claims=r"stable-diffusion-(v)?3|^sd_?3",
    evidence=(
        Sign(r"joint_blocks[._]", "it has the joint blocks of SD3", weight=3),
        Sign(
            r"pos_embed\.proj|transformer_blocks[._]\d+[._]attn2",
            "it has the joint blocks of SD3",
            without=rf"{builds.UNET_BUILD}|{builds.DOUBLE_AND_SINGLE}|attn1[._]|joint_transformer|[._](?:cross_attn|adaln_single)",
        ),
        Sign(
            builds.JOINT_QUERY,
            "its joint transformer has width {width}",
            without=builds.UNET_BUILD,
            widths=(1536, 2432),
            weight=1,
        ),
    ),
    build=builds.JOINT_BUILD,
    naming=mmdit_names,
    layout=FileLayout(kohya="lora_transformer", version="sd3", architecture="stable-diffusion-3-medium"),
    inputs=("pos_embed.proj",),
    single_file=("sd3", "sd35_medium", "sd35_large"),
    checkpoint=("joint_blocks.",),
    replay="blocks",
)
