"""From a picture of any size and mode to the latents a denoiser is trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.items import TrainingItem, listed

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
ENCODE_BATCH = 8
UNREADABLE = (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises then


def as_rgb(picture: Image.Image) -> Image.Image:
    """A picture of any mode as RGB: turned upright, transparency on white; raises one of UNREADABLE."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def load_pixels(item: TrainingItem, size: int) -> Pixels:
    """The picture as uint8 [size size 3]: turned upright, transparency on white, scaled to cover, cut at the centre.

    Raises TrainingError with the picture's name where it cannot be read.
    """
    try:
        picture = as_rgb(_open(item.picture))
    except UNREADABLE as error:
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
def decode_latents(pipe: Any, latents: Tensor) -> list[Image.Image]:
    """The pictures of latents as `encode_pictures` makes them."""
    vae = pipe.vae
    with _in_float32(vae):
        values = latents.to(vae.device, torch.float32) / vae.config.scaling_factor
        values = vae.decode(_rescaled(vae, values, back=True), return_dict=False)[0]  # [b 3 h w] in [-1, 1]
    pixels = ((values / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return [Image.fromarray(picture) for picture in pixels.permute(0, 2, 3, 1).cpu().numpy()]


@torch.no_grad()
def _encode(pipe: Any, pixels: Tensor) -> Tensor:
    """uint8 [n h w 3] to latents [n c h w]."""
    vae = pipe.vae
    with _in_float32(vae):
        values = pixels.to(vae.device).permute(0, 3, 1, 2).float() / 127.5 - 1.0  # [-1, 1]
        output = vae.encode(values)
        latents = cast("Tensor", output.latents if hasattr(output, "latents") else output.latent_dist.mode())
    return (_rescaled(vae, latents) * vae.config.scaling_factor).cpu()


def _rescaled(vae: Any, latents: Tensor, *, back: bool = False) -> Tensor:
    """Latents without the mean and deviation that some autoencoders of SDXL declare, or with them again."""
    mean, deviation = getattr(vae.config, "latents_mean", None), getattr(vae.config, "latents_std", None)
    if mean is None or deviation is None:
        return latents
    mu, sigma = (torch.tensor(values).view(1, -1, 1, 1).to(latents) for values in (mean, deviation))
    return latents * sigma + mu if back else (latents - mu) / sigma


@contextmanager
def _in_float32(vae: Any) -> Generator[None]:
    """The autoencoder in float32 for a moment: some overflow in half precision, and all lose detail."""
    dtype: torch.dtype = vae.dtype
    if dtype == torch.float32:
        yield
        return
    try:
        vae.to(dtype=torch.float32)
        yield
    finally:
        vae.to(dtype=dtype)
