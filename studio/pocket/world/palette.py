"""The colours of the pocket world, as sRGB triples in [0, 1], and the small arithmetic on them."""

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.floating]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 48, 48),
    "orange": (245, 140, 34),
    "yellow": (250, 216, 56),
    "green": (64, 172, 72),
    "cyan": (66, 208, 214),
    "blue": (56, 96, 226),
    "purple": (142, 68, 190),
    "pink": (248, 134, 190),
}

INK = (38, 32, 48)
WHITE = (252, 252, 250)


def rgb(triple: tuple[int, int, int]) -> Rgb:
    return np.asarray(triple, np.float32) / np.float32(255)


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """`a` moved towards `b` by `share` in [0, 1]."""
    return a + (b - a) * np.float32(share)


def darker(colour: Rgb, share: float = 0.28) -> Rgb:
    return mix(colour, rgb(INK), share)


def lighter(colour: Rgb, share: float = 0.45) -> Rgb:
    return mix(colour, rgb(WHITE), share)


def jittered(colour: Rgb, rng: np.random.Generator, amount: float = 0.025) -> Rgb:
    return np.clip(colour + rng.uniform(-amount, amount, 3).astype(np.float32), 0, 1)
