"""From a picture of any size and mode to the latents a denoiser is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from pipelines.errors import TrainingError
from pipelines.training.items import TrainingItem, listed

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
ENCODE_BATCH = 8


def load_pixels(item: TrainingItem, size: int) -> Pixels:
    """The picture as uint8 [size size 3]: turned upright, transparency on white, scaled to cover, cut at the centre.

    Raises TrainingError with the picture's name where it cannot be read.
    """
    try:
        picture = ImageOps.exif_transpose(_open(item.picture))
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        picture = picture.convert("RGB")
    except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError) as error:
        raise TrainingError(
            f"{item.name} cannot be read as a picture", found=str(error), remedy="remove it or save it anew as PNG"
        ) from error
    if picture.size != (size, size):
        picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def encode_pictures(pipe: Any, items: Sequence[TrainingItem], size: int) -> tuple[Tensor, str]:
    """Latents [n c h w] in float32 on the CPU, scaled for the denoiser, and a fingerprint of pixels and captions.

    The mean of the autoencoder's distribution is taken, so that the cache holds no chance. All unreadable pictures are
    named in one TrainingError.
    """
    fingerprint = hashlib.sha256()
    encoded: list[Tensor] = []
    unreadable: list[str] = []
    for start in range(0, len(items), ENCODE_BATCH):
        batch: list[Pixels] = []
        for item in items[start : start + ENCODE_BATCH]:
            try:
                pixels = load_pixels(item, size)
            except TrainingError as error:
                unreadable.append(f"{item.name} ({error.found})")
                continue
            fingerprint.update(pixels.tobytes())
            fingerprint.update("\0".join(item.captions).encode())
            batch.append(pixels)
        if batch and not unreadable:
            encoded.append(_encode(pipe, torch.as_tensor(np.stack(batch))))
    if unreadable:
        raise TrainingError(
            f"{len(unreadable)} of {len(items)} pictures cannot be read",
            found=listed(unreadable),
            remedy="remove them or save them anew as PNG",
        )
    return torch.cat(encoded), fingerprint.hexdigest()


def _open(picture: Path | Image.Image | Pixels) -> Image.Image:
    if isinstance(picture, Path):
        with Image.open(picture) as opened:
            opened.load()
            return opened.copy()
    if isinstance(picture, Image.Image):
        return picture
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"an array must be uint8 [h w 3], this one is {picture.dtype} {list(picture.shape)}")
    return Image.fromarray(picture)


@torch.no_grad()
def _encode(pipe: Any, pixels: Tensor) -> Tensor:
    """uint8 [n h w 3] to latents [n c h w]; an autoencoder that overflows in half precision runs in float32."""
    vae = pipe.vae
    dtype: torch.dtype = vae.dtype
    upcast = bool(getattr(vae.config, "force_upcast", False)) and dtype != torch.float32
    if upcast:
        vae.to(dtype=torch.float32)
    values = pixels.to(vae.device).permute(0, 3, 1, 2).to(vae.dtype) / 127.5 - 1.0  # [-1, 1]
    output = vae.encode(values)
    latents = cast("Tensor", output.latents if hasattr(output, "latents") else output.latent_dist.mode())
    if upcast:
        vae.to(dtype=dtype)
    mean = getattr(vae.config, "latents_mean", None)
    deviation = getattr(vae.config, "latents_std", None)
    if mean is not None and deviation is not None:
        shape = (1, -1, 1, 1)
        latents = (latents - torch.tensor(mean).view(shape).to(latents)) / torch.tensor(deviation).view(shape).to(
            latents
        )
    return (latents * vae.config.scaling_factor).float().cpu()
