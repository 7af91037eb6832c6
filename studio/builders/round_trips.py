"""Pictures through the autoencoder, and latents spoiled on the way: what a diffusion model's failures look like."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from torch import Tensor

Pictures = NDArray[np.uint8]
BATCH = 64


def load_autoencoder(work: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> Any:
    """The autoencoder in `work`/vae, on `device`, for inference alone."""
    vae: Any = AutoencoderTiny.from_pretrained(work / "vae", torch_dtype=dtype)
    return vae.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def _parts(pictures: Pictures, vae: Any) -> Iterator[Tensor]:
    parameter = next(vae.parameters())
    for start in range(0, len(pictures), BATCH):
        part = torch.from_numpy(np.array(pictures[start : start + BATCH])).to(parameter.device)
        yield (part.permute(0, 3, 1, 2).float() / 127.5 - 1).to(parameter.dtype)


def _bytes(x: Tensor) -> Pictures:
    return ((x.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


@torch.no_grad()
def round_trip(vae: Any, pictures: Pictures) -> Pictures:
    """uint8 [n h w 3] -> the same encoded and decoded."""
    return np.concatenate([_bytes(vae.decode(vae.encode(x).latents).sample) for x in _parts(pictures, vae)])


@torch.no_grad()
def spoiled(vae: Any, pictures: Pictures, seed: int = 0) -> Pictures:
    """uint8 [n h w 3] -> pictures that show nothing: decoded from blended, half-noisy or noise-only latents."""
    generator, done = torch.Generator().manual_seed(seed), []
    for kind, x in enumerate(_parts(pictures, vae)):
        z = vae.encode(x).latents
        noise = torch.randn(z.shape, generator=generator).to(z) * z.std()
        share = (0.4 + 0.2 * torch.rand(len(z), 1, 1, 1, generator=generator)).to(z)
        if kind % 3 == 0:
            z = share * z + (1 - share) * z.roll(1, 0)
        elif kind % 3 == 1:
            z = (share - 0.1) * z + (1.1 - share**2).sqrt() * noise
        else:
            z = noise * (0.5 + share)
        done.append(_bytes(vae.decode(z).sample))
    return np.concatenate(done)
