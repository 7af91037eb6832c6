"""Wan 2.1 and 2.2: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="wan_video",
    title="Wan",
    runs=False,
    pipelines=PipelineNames(
        text="WanPipeline",
        others=("WanImageToVideoPipeline", "WanVACEPipeline", "WanVideoToVideoPipeline", "WanAnimatePipeline"),
    ),
    denoiser="WanTransformer3DModel",
    claims=r"(?:^|[^a-z])wan[-_. ]?(?:v?2|video)",
    evidence=(
        Sign(
            rf"{builds.LONE_BLOCK}(?:(?:self_attn|cross_attn)[._](?:[qkvo]|[kv]_img)\.|ffn[._](?:[02]\.|net))",
            "it has the blocks of Wan",
            weight=5,
        ),
        Sign(
            rf"{builds.LONE_BLOCK}attn[12][._]to_[qkv][._]{builds.DOWN}",
            builds.WIDTH_WHY,
            widths=(1536, 3072, 5120),
            weight=4,
        ),
    ),
)
