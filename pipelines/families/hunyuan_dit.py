"""HunyuanDiT: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="hunyuan_dit",
    title="HunyuanDiT",
    runs=False,
    pipelines=PipelineNames(
        text="HunyuanDiTPipeline", control="HunyuanDiTControlNetPipeline", others=("HunyuanDiTPAGPipeline",)
    ),
    denoiser="HunyuanDiT2DModel",
    claims=r"hunyuan[-_. ]?dit",
    evidence=(
        Sign(
            rf"{builds.LONE_BLOCK}(?:attn1[._]Wqkv|attn2[._](?:q|kv)_proj|skip_linear|default_modulation)[._]",
            "it has the blocks of HunyuanDiT",
            weight=5,
        ),
        Sign(
            rf"{builds.LONE_BLOCK}attn[12][._]to_[qkv][._]{builds.DOWN}",
            builds.WIDTH_WHY,
            widths=(1408,),
            weight=4,
        ),
    ),
)
