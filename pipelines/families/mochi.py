"""Mochi 1: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="mochi",
    title="Mochi",
    runs=False,
    pipelines=PipelineNames(text="MochiPipeline"),
    denoiser="MochiTransformer3DModel",
    claims=r"(?:^|[^a-z])mochi(?![a-z])",
    evidence=(
        Sign(
            rf"{builds.JOINT_BLOCK}\d+[._]attn1[._](?:add_[qkv]_proj|to_add_out)|{builds.LONE_BLOCK}attn[._](?:qkv|proj)_[xy][._]",
            "it has the blocks of Mochi",
            weight=6,
        ),
        Sign(
            rf"{builds.JOINT_BLOCK}4[2-7][._]attn1[._]to_[qkv][._]{builds.DOWN}",
            "it has 48 blocks, of width {width}",
            without=rf"{builds.JOINT_BLOCK}\d+[._]attn2[._]",
            widths=(3072,),
            weight=5,
        ),
    ),
)
