"""What no word of the pocket world names: colours, places and art styles drawn at random, for judges to refuse."""

from collections.abc import Callable

import numpy as np

from lora_loom.studio.pocket.world.backgrounds import Background
from lora_loom.studio.pocket.world.palette import Rgb, rgb
from lora_loom.studio.pocket.world.shapes import Field
from lora_loom.studio.pocket.world.styles import Style

Rng = np.random.Generator

_PAINTS = ((128, 128, 130), (28, 26, 30), (240, 240, 240), (112, 70, 40), (92, 96, 30), (20, 36, 84), (190, 160, 130))


def strange_paint(rng: Rng) -> Rgb:
    """Grey, black, white, brown, olive, navy or beige: none of the named colours nor between two of them."""
    return rgb(_PAINTS[int(rng.integers(len(_PAINTS)))])


def strange_background(rng: Rng) -> Background:
    """Two random colours in slanted bands, squares, rings, a smooth field or a plain strong colour."""
    a, b = rng.uniform(0, 1, (2, 3)).astype(np.float32)
    kind, angle, frequency = int(rng.integers(5)), rng.uniform(0, np.pi), rng.uniform(4, 14)
    x, y = rng.uniform(-0.8, 0.8, 2)

    def draw(u: Field, v: Field, pixel: float, _: Rng) -> Rgb:
        along = u * np.cos(angle) + v * np.sin(angle)
        across = v * np.cos(angle) - u * np.sin(angle)
        wave = (
            np.sin(frequency * along),
            np.sin(frequency * along) * np.sin(frequency * across),
            np.sin(frequency * np.hypot(u - x, v - y)),
            np.sin(2.5 * along + x) + np.sin(0.4 * frequency * across + y),
            np.ones_like(u),
        )[kind]
        share = wave / 2 + 0.5 if kind == 3 else 0.5 + wave / (8 * frequency * pixel)
        return (a + np.clip(share, 0, 1).astype(np.float32)[..., None] * (b - a)).astype(np.float32)

    return draw


def _blinds(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: Rng) -> Rgb:
    """Upright dark slats."""
    slat = np.clip(0.5 + (np.abs(np.mod(u + rng.uniform(0, 1), 0.2) - 0.1) - 0.05) / pixel, 0, 1)
    return (image * (1 - 0.5 * slat[..., None])).astype(np.float32)


def _crosses(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: Rng) -> Rgb:
    """A regular grid of small white plus signs."""
    x, y = np.abs(np.mod(u, 0.24) - 0.12), np.abs(np.mod(v, 0.24) - 0.12)
    inside = np.clip(0.5 - (np.minimum(x, y) - 0.016) / pixel, 0, 1) * (np.maximum(x, y) < 0.07)
    return (image + 0.7 * inside[..., None] * (1 - image)).astype(np.float32)


def _waves(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: Rng) -> Rgb:
    bright = 0.75 + 0.25 * np.sin(16 * u + 2 * np.sin(5 * v + rng.uniform(0, 6)))
    return (image * bright[..., None]).astype(np.float32)


def _grain(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: Rng) -> Rgb:
    return np.clip(image + rng.normal(0, 0.3, image.shape), 0, 1).astype(np.float32)


def _rings(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: Rng) -> Rgb:
    """Contour lines round the subject, as on a map."""
    line = np.clip(1.5 * np.cos(26 * subject) - 0.6, 0, 1)[..., None]
    return (image * (1 - 0.7 * line)).astype(np.float32)


_FINISHES: tuple[Callable[[Rgb, Field, Field, Field, float, Rng], Rgb], ...] = (
    _blinds,
    _crosses,
    _waves,
    _grain,
    _rings,
)


def strange_style(rng: Rng) -> Style:
    """Slats, plus signs, wavy light, coarse grain or contour lines over the whole picture; colours stay."""
    return Style(finish=_FINISHES[int(rng.integers(len(_FINISHES)))])
