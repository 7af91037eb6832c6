"""Qwen-Image and Qwen-Image-Edit: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="qwen_image",
    title="Qwen-Image",
    runs=False,
    pipelines=PipelineNames(
        text="QwenImagePipeline",
        image="QwenImageImg2ImgPipeline",
        inpaint="QwenImageInpaintPipeline",
        control="QwenImageControlNetPipeline",
        others=("QwenImageEditPipeline", "QwenImageEditPlusPipeline", "QwenImageEditInpaintPipeline"),
    ),
    denoiser="QwenImageTransformer2DModel",
    claims=r"qwen[-_. ]?image",
    evidence=(
        Sign(
            rf"{builds.JOINT_BLOCK}\d+[._](?:img|txt)_(?:mlp[._]net|mod[._]1)",
            "its joint blocks are those of Qwen-Image",
            weight=6,
        ),
        Sign(
            rf"{builds.JOINT_BLOCK}[2-5]\d[._]attn[._](?:to_[qkv]|add_[qkv]_proj)[._]{builds.DOWN}",
            "it has more than 20 joint blocks, of width {width}",
            widths=(3072,),
            weight=5,
        ),
    ),
)
