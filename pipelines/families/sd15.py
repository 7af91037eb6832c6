"""Stable Diffusion 1.x and its fine-tunes."""

from __future__ import annotations

from lora_loom.pipelines.adapters.naming.sgm import sgm_names
from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Defaults, Family, FileLayout, PipelineNames, Sign, TextEncoder

FAMILY = Family(
    name="sd15",
    title="Stable Diffusion 1.x",
    pipelines=PipelineNames(
        text="StableDiffusionPipeline",
        image="StableDiffusionImg2ImgPipeline",
        inpaint="StableDiffusionInpaintPipeline",
        control="StableDiffusionControlNetPipeline",
    ),
    denoiser=builds.UNET,
    base=(Sign(builds.CONTEXT_LAYER, builds.CONTEXT_WHY, without=builds.SECOND_CONDITIONING, widths=(768,), weight=3),),
    call=builds.unet_call(),
    text_encoders=(TextEncoder("text_encoder", ("lora_te", "lora_te1"), builds.CLIP_L.native),),
    blocks=builds.unet_blocks(builds.unet_roles()),
    sizes=builds.UNET_SIZES,
    defaults=Defaults(guidance=7.5),
    claims=r"stable-diffusion-v1|^sd_?(v)?1",
    evidence=(Sign(builds.CONTEXT_INPUT, builds.CONTEXT_WHY, widths=(768,), weight=3),),
    build=builds.UNET_BUILD,
    naming=sgm_names,
    layout=FileLayout(peft="unet", version="sd_v1", architecture="stable-diffusion-v1"),
    inputs=("conv_in",),
    single_file=("v1",),
    checkpoint=builds.UNET_CHECKPOINT,
    replay="depths",
)
