"""The pocket world: drawn pictures, a diffusion model trained on them, LoRAs for it, and a judge of them."""

from pathlib import Path

_FOLDER = Path(__file__).parent


def base_path() -> Path:
    """Folder of the shipped base model, in diffusers' Stable Diffusion layout."""
    return _FOLDER / "base"


def adapters_path() -> Path:
    """Folder of the shipped LoRAs, each with its preview and description beside it."""
    return _FOLDER / "adapters"


def forecast_path() -> Path:
    """The forecast that was fitted on the shipped base model, where there is one."""
    return _FOLDER / "forecast.json"


def gates_path() -> Path:
    """Folder of the shipped gates of the fusion method `gated`."""
    return _FOLDER / "gates"
