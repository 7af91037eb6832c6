"""The families of base models: four diffusers pipelines that compose LoRAs."""

from __future__ import annotations

from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline

from lora_loom.pipelines.bases import resolve_base as resolve_base
from lora_loom.pipelines.fusion_pipeline import FusionPipeline as FusionPipeline


class StableDiffusionFusionPipeline(FusionPipeline, StableDiffusionPipeline):  # pyright: ignore[reportIncompatibleMethodOverride] - fewer options, see LoraVerbs
    """Stable Diffusion 1.x and its fine-tunes, and the pocket base."""


class StableDiffusionXLFusionPipeline(FusionPipeline, StableDiffusionXLPipeline):  # pyright: ignore[reportIncompatibleMethodOverride] - fewer options, see LoraVerbs
    """SDXL and its fine-tunes: Pony, Illustrious, Turbo, Lightning."""


class StableDiffusion3FusionPipeline(FusionPipeline, StableDiffusion3Pipeline):  # pyright: ignore[reportIncompatibleMethodOverride] - fewer options, see LoraVerbs
    """Stable Diffusion 3 and 3.5."""


class FluxFusionPipeline(FusionPipeline, FluxPipeline):  # pyright: ignore[reportIncompatibleMethodOverride] - fewer options, see LoraVerbs
    """FLUX.1 dev and schnell; guidance-distilled, so one prediction per step."""
