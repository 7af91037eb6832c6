"""The refiner of SDXL: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, Sign

FAMILY = Family(
    name="sdxl_refiner",
    title="SDXL refiner",
    runs=False,
    claims=r"(?:stable-diffusion-xl|sd_?xl).*refiner",
    evidence=(Sign(builds.CONTEXT_INPUT, builds.CONTEXT_WHY, widths=(1280,), weight=4),),
)
