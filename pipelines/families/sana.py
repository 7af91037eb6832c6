"""Sana: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="sana",
    title="Sana",
    runs=False,
    pipelines=PipelineNames(
        text="SanaPipeline", others=("SanaSprintPipeline", "SanaSprintImg2ImgPipeline", "SanaPAGPipeline")
    ),
    denoiser="SanaTransformer2DModel",
    claims=r"\bsana(?![a-z])",
    evidence=(
        Sign(
            rf"{builds.JOINT_BLOCK}\d+[._]ff[._]conv_(?:inverted|depth|point)|{builds.LONE_BLOCK}mlp[._](?:inverted|point)_conv",
            "its feed-forward layers are the convolutions of Sana",
            weight=5,
        ),
        Sign(builds.CROSS_QUERY, builds.WIDTH_WHY, without=builds.UNET_BUILD, widths=(2240,), weight=4),
        Sign(
            rf"{builds.LONE_BLOCK}cross_attn[._](?:q|kv)_linear[._]{builds.DOWN}",
            builds.WIDTH_WHY,
            widths=(2240,),
            weight=4,
        ),
    ),
)
