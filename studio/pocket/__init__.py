"""The pocket world: a small drawn world, a diffusion model trained on it, LoRAs for it, and a judge that knows the truth."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def base_path() -> Path:
    """Folder of the shipped base model, in diffusers' Stable Diffusion layout."""
    return _FOLDER / "base"


def adapters_path() -> Path:
    """Folder of the shipped LoRAs, each with its preview and description beside it."""
    return _FOLDER / "adapters"
