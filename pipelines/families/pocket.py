"""The pocket base, which Loom trains itself: a U-Net of the first Stable Diffusion's build with a width of its own."""

from __future__ import annotations

from dataclasses import replace

from lora_loom.pipelines.families import builds, sd15
from lora_loom.pipelines.families.family import Defaults, FileLayout, Sign, Sizes

FAMILY = replace(
    sd15.FAMILY,
    name="pocket",
    title="pocket",
    base=(
        Sign(builds.CONTEXT_LAYER, builds.CONTEXT_WHY, without=builds.SECOND_CONDITIONING, any_width=True, weight=1),
    ),
    sizes=Sizes(latents=1, pixels=8, trained=(128,)),
    defaults=Defaults(steps=20, guidance=3.0, dtypes=("float32", "bfloat16")),
    claims=r"loom-pocket|^pocket",
    evidence=(Sign(builds.CONTEXT_INPUT, builds.CONTEXT_WHY, without=builds.TWO_ENCODERS, widths=(128,), weight=1),),
    layout=FileLayout(peft="unet", version="loom-pocket", architecture="loom-pocket"),
    single_file=(),
)
