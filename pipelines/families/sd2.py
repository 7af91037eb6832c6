"""Stable Diffusion 2.x: the first one with a wider text encoder, run by the same pipelines."""

from __future__ import annotations

from dataclasses import replace

from lora_loom.pipelines.families import builds, sd15
from lora_loom.pipelines.families.family import FileLayout, Sign, Sizes

FAMILY = replace(
    sd15.FAMILY,
    name="sd2",
    title="Stable Diffusion 2.x",
    base=(
        Sign(builds.CONTEXT_LAYER, builds.CONTEXT_WHY, without=builds.SECOND_CONDITIONING, widths=(1024,), weight=3),
    ),
    sizes=Sizes(latents=1, pixels=8, trained=(512, 768)),
    claims=r"stable-diffusion-v2|^sd_?(v)?2",
    evidence=(Sign(builds.CONTEXT_INPUT, builds.CONTEXT_WHY, widths=(1024,), weight=3),),
    layout=FileLayout(peft="unet", version="sd_v2", architecture="stable-diffusion-v2-512", v2=True),
    single_file=(),
)
