"""Kolors: recognised, so that it is refused by name; Loom does not run it.

Its U-Net is SDXL's behind a language model, and its files have SDXL's names and shapes, so a header or the projection
of the text has to tell.
"""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="kolors",
    title="Kolors",
    runs=False,
    pipelines=PipelineNames(text="KolorsPipeline", image="KolorsImg2ImgPipeline"),
    claims=r"kolors",
    evidence=(
        Sign(r"encoder_hid_proj[._]lora", "it projects the text of Kolors", along=builds.UNET_BUILD, weight=5),
        Sign(builds.CONTEXT_INPUT, builds.CONTEXT_WHY, widths=(2048,), weight=1),
    ),
)
