"""SDXL and its fine-tunes: Pony, Illustrious, Turbo, Lightning.

In it up_blocks.0.attentions.0 carries content and up_blocks.0.attentions.1 style (B-LoRA, arXiv:2403.14572, section 4;
InstantStyle, arXiv:2404.02733, adds layout in down_blocks.2.attentions.1), so the latter joins `style`.
"""

from __future__ import annotations

from lora_loom.pipelines.adapters.naming.sgm import sgm_names
from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, FileLayout, PipelineNames, Sign, Sizes

_DEEP = r"(?:attentions|blocks|block)[._]\d+[._](?:\d+[._])?transformer_blocks[._][2-9]"

FAMILY = Family(
    name="sdxl",
    title="SDXL",
    pipelines=PipelineNames(
        text="StableDiffusionXLPipeline",
        image="StableDiffusionXLImg2ImgPipeline",
        inpaint="StableDiffusionXLInpaintPipeline",
        control="StableDiffusionXLControlNetPipeline",
    ),
    denoiser=builds.UNET,
    base=(
        # an `encoder_hid_proj` that is one layer is that of a base with another text encoder, Kolors
        Sign(builds.SECOND_CONDITIONING, "it has a second conditioning", r"^denoiser\.encoder_hid_proj$", weight=4),
    ),
    call=builds.unet_call("text_embeds"),
    text_encoders=(builds.CLIP_L, builds.CLIP_G),
    blocks=builds.unet_blocks(builds.unet_roles(style="up_blocks.0.attentions.1.", ups=3)),
    sizes=Sizes(latents=1, pixels=8, trained=(1024,)),
    claims=r"stable-diffusion-xl|sdxl",
    evidence=(
        Sign(builds.CONTEXT_INPUT, builds.CONTEXT_WHY, widths=(2048,), weight=3),
        Sign(builds.TWO_ENCODERS, "it is for a U-Net with two text encoders", along=builds.UNET_BUILD, yields=True),
        Sign(_DEEP, "its U-Net has deep transformers", weight=1),
    ),
    build=builds.UNET_BUILD,
    naming=sgm_names,
    layout=FileLayout(peft="unet", version="sdxl_base_v1-0", architecture="stable-diffusion-xl-v1-base"),
    inputs=("conv_in",),
    single_file=("xl_base",),
    checkpoint=builds.UNET_CHECKPOINT,
    replay="depths",
)
