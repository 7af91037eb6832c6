"""CogVideoX: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="cogvideox",
    title="CogVideoX",
    runs=False,
    pipelines=PipelineNames(
        text="CogVideoXPipeline", others=("CogVideoXImageToVideoPipeline", "CogVideoXVideoToVideoPipeline")
    ),
    denoiser="CogVideoXTransformer3DModel",
    claims=r"cog[-_ ]?video",
    evidence=(
        Sign(
            builds.CROSS_QUERY,
            builds.WIDTH_WHY,
            without=rf"{builds.UNET_BUILD}|attn1[._]add_[qkv]_proj|{builds.JOINT_BLOCK}\d+[._]attn2[._]",
            widths=(1920, 3072),
            weight=4,
        ),
        Sign(r"layers[._]\d+[._]attention[._]query_key_value", "it has the blocks of CogVideoX", weight=4),
    ),
)
