"""Lumina Image 2: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="lumina2",
    title="Lumina 2",
    runs=False,
    pipelines=PipelineNames(text="Lumina2Pipeline"),
    denoiser="Lumina2Transformer2DModel",
    claims=r"lumina[-_. ]?(?:image[-_. ]?)?2",
    evidence=(
        Sign(
            r"time_caption_embed|(?:^|[._])(?:layers|noise_refiner|context_refiner)[._]\d+[._]attn[._]to_(?:[qkv]|out)",
            "it has the blocks of Lumina 2",
            weight=4,
        ),
        Sign(
            rf"(?:layers|noise_refiner|context_refiner)[._]\d+[._]attention[._](?:qkv|out)[._]{builds.DOWN}",
            builds.WIDTH_WHY,
            widths=(2304,),
            weight=4,
        ),
    ),
)
