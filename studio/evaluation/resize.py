"""The one way in which pictures are scaled for a feature extractor; its name is part of every result.

FID moves with the filter: bicubic with and without antialiasing, and TensorFlow's bilinear, give three numbers for the
same files. Pillow's bicubic filter widens its support when it shrinks, that is, it antialiases.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RESIZER = "pillow-bicubic"
Fit = Literal["squash", "crop"]


def resize(
    pixels: NDArray[np.uint8], size: int, fit: Fit = "squash", *, shorter: int | None = None
) -> NDArray[np.uint8]:
    """uint8 [n h w 3] to uint8 [n size size 3].

    `squash` ignores the aspect ratio; `crop` scales the shorter side to `shorter` (`size` if None) and cuts the centre.
    """
    height, width = pixels.shape[1:3]
    scaled = (size, size)
    if fit == "crop":
        scale = (shorter or size) / min(height, width)
        scaled = (max(size, round(width * scale)), max(size, round(height * scale)))
    if scaled != (width, height):
        pixels = np.stack([np.asarray(Image.fromarray(p).resize(scaled, Image.Resampling.BICUBIC)) for p in pixels])
    top, left = (pixels.shape[1] - size) // 2, (pixels.shape[2] - size) // 2
    return pixels[:, top : top + size, left : left + size]
