"""Running and training diffusion models with several LoRAs at once: the engine of Loom, usable without the studio.

`from lora_loom.pipelines import FusionPipeline` is the way in from a notebook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lora_loom.pipelines.families import FusionPipeline as FusionPipeline

__all__ = ["FusionPipeline"]


def __getattr__(name: str) -> Any:
    """Load what is exported when it is asked for, as it brings torch and diffusers with it."""
    if name == "FusionPipeline":
        from lora_loom.pipelines.families import FusionPipeline

        return FusionPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
