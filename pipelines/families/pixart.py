"""PixArt-alpha and -sigma: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="pixart",
    title="PixArt",
    runs=False,
    pipelines=PipelineNames(text="PixArtAlphaPipeline", others=("PixArtSigmaPipeline", "PixArtSigmaPAGPipeline")),
    denoiser="PixArtTransformer2DModel",
    claims=r"pix[-_. ]?art",
    evidence=(
        Sign(builds.CROSS_QUERY, builds.WIDTH_WHY, without=builds.UNET_BUILD, widths=(1152,), weight=4),
        Sign(
            rf"{builds.LONE_BLOCK}cross_attn[._](?:q|kv)_linear[._]{builds.DOWN}",
            "it has the blocks of PixArt, of width {width}",
            without=r"mixer|(?:inverted|point)_conv",
            widths=(1152,),
            weight=4,
        ),
    ),
)
