"""LTX-Video: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="ltx",
    title="LTX-Video",
    runs=False,
    pipelines=PipelineNames(text="LTXPipeline", others=("LTXImageToVideoPipeline", "LTXConditionPipeline")),
    denoiser="LTXVideoTransformer3DModel",
    claims=r"ltx(?!v?[-_. ]?(?:video[-_. ]?)?2(?!b))",
    evidence=(Sign(builds.CROSS_QUERY, builds.WIDTH_WHY, without=builds.UNET_BUILD, widths=(2048, 4096), weight=4),),
)
