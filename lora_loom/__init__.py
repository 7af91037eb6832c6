"""Loom: compose several LoRAs in one picture. `from lora_loom import FusionPipeline, Studio` is the short way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora_loom.pipelines.families import FusionPipeline as FusionPipeline
    from lora_loom.studio.session import Studio as Studio

__all__ = ["FusionPipeline", "Studio"]


def __getattr__(name: str) -> Any:
    """Load what is exported when it is asked for: the pipelines bring torch and diffusers with them."""
    if name == "FusionPipeline":
        from lora_loom.pipelines.families import FusionPipeline

        return FusionPipeline
    if name == "Studio":
        from lora_loom.studio.session import Studio

        return Studio
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
