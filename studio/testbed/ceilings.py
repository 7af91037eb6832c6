"""What a perfect method would score: true renders of a set's scene, and their round trips through the autoencoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lora_loom.studio.pocket.world.render import render
from lora_loom.studio.pocket.world.scene import Scene, posed
from lora_loom.studio.testbed.sets import LoraSet

CEILINGS = ("truth", "round_trip")


def true_render(scene: Scene, seed: int, size: int) -> NDArray[np.uint8]:
    """The scene in the pose of that seed, uint8 [size size 3]."""
    return np.round(render(posed(scene, np.random.default_rng(seed)), size).image * 255).astype(np.uint8)


def true_renders(asked: LoraSet, seeds: Sequence[int], size: int) -> NDArray[np.uint8]:
    """The pictures that a set asks for, uint8 [n size size 3]."""
    return np.stack([true_render(asked.scene, seed, size) for seed in seeds])


@torch.no_grad()
def through_autoencoder(pictures: NDArray[np.uint8], vae: Any) -> NDArray[np.uint8]:
    """uint8 [n h w 3], encoded and decoded."""
    weight = next(vae.parameters())
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(weight.device, weight.dtype) / 127.5 - 1
    decoded = vae.decode(vae.encode(x).latents).sample.float().clamp(-1, 1)
    return ((decoded + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
