"""Art styles: how the layers of a scene become a picture, and what is done to the picture afterwards.

A style says how edges are drawn while the parts are painted (`line`, `softness`, `halo`) and gives one finishing
function over the whole picture. All of them keep the named colours recognisable.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lora_loom.studio.pocket.world.palette import INK, WHITE, Rgb, mix, rgb
from lora_loom.studio.pocket.world.shapes import Field, coverage

Finish = Callable[[Rgb, Field, Field, Field, float, np.random.Generator], Rgb]


@dataclass(frozen=True)
class Style:
    """`line`: ink width around parts; `softness`: edge blur; `halo`: a white border; units of half a picture."""

    line: float = 0.0
    softness: float = 0.0
    halo: float = 0.0
    finish: Finish | None = None


def _noise(u: Field, v: Field, rng: np.random.Generator, frequency: float) -> Field:
    """Smooth noise in about [-1, 1]: a few plane waves with random directions and phases."""
    total = np.zeros_like(u)
    for _ in range(5):
        a, p = rng.uniform(0, 2 * np.pi, 2)
        total += np.sin(frequency * (u * np.cos(a) + v * np.sin(a)) + p).astype(np.float32)
    return total / np.float32(2.5)


def _hatched(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: np.random.Generator) -> Rgb:
    stroke = np.abs(np.mod((u + v) / np.sqrt(2), 0.22) - 0.11) - 0.032
    # ink strokes would vanish on dark ground, so there the pencil is white
    pencil = np.where(image.mean(-1, keepdims=True) < 0.36, rgb(WHITE), rgb(INK))
    return image + (coverage(stroke.astype(np.float32), pixel) * np.float32(0.42))[..., None] * (pencil - image)


def _watercolour(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: np.random.Generator) -> Rgb:
    wash = 0.32 + 0.24 * _noise(u, v, rng, 6.0)
    pigment = np.clip(1 - np.abs(subject) / 0.07, 0, 1) * np.float32(0.16)
    faded = image + np.clip(wash, 0, 1)[..., None] * (rgb(WHITE) - image)
    edge = np.clip(np.maximum(np.abs(u), np.abs(v)) - 0.84 - 0.05 * _noise(v, u, rng, 9.0), 0, 0.16) / np.float32(0.16)
    bordered = faded + edge[..., None] * (rgb(WHITE) - faded)
    return bordered * (1 - pigment[..., None])


def _halftone(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: np.random.Generator) -> Rgb:
    period = 0.19
    p, q = (u + v) / np.sqrt(2), (u - v) / np.sqrt(2)
    dots = np.hypot(np.mod(p, period) - period / 2, np.mod(q, period) - period / 2) - 0.058
    return image + (coverage(dots.astype(np.float32), pixel) * np.float32(0.62))[..., None] * (rgb(WHITE) - image)


def _neon(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: np.random.Generator) -> Rgb:
    dark = mix(image, rgb((10, 6, 24)), 0.42)
    glow = np.exp(-np.abs(subject) / np.float32(0.07))[..., None]
    core = np.clip(1.4 - np.abs(subject) / np.float32(0.045), 0, 1)[..., None]
    lit = dark + glow * (rgb((120, 255, 240)) - dark) * np.float32(0.7)
    return lit + core * (rgb((220, 255, 250)) - lit)


def _mosaic(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: np.random.Generator) -> Rgb:
    tile = 0.25
    column, row = np.floor((u + 1) / tile).astype(int), np.floor((v + 1) / tile).astype(int)
    shade = rng.uniform(-0.1, 0.1, (16, 16)).astype(np.float32)[np.clip(row, 0, 15), np.clip(column, 0, 15)]
    grout = (
        np.minimum(np.abs(np.mod(u + 1 + tile / 2, tile) - tile / 2), np.abs(np.mod(v + 1 + tile / 2, tile) - tile / 2))
        - 0.022
    )
    tiled = np.clip(image + shade[..., None], 0, 1)
    return tiled + (coverage(grout.astype(np.float32), pixel) * np.float32(0.85))[..., None] * (
        rgb((70, 66, 76)) - tiled
    )


def _glitch(image: Rgb, u: Field, v: Field, subject: Field, pixel: float, rng: np.random.Generator) -> Rgb:
    shift = max(1, round(0.09 / pixel))
    split = np.stack((np.roll(image[..., 0], -shift, 1), image[..., 1], np.roll(image[..., 2], shift, 1)), -1)
    lines = coverage((np.abs(np.mod(v, 0.125) - 0.0625) - 0.022).astype(np.float32), pixel) * np.float32(0.38)
    return split * (1 - lines[..., None])


STYLES: dict[str, Style] = {
    "flat": Style(),
    "ink": Style(line=0.075),
    "sticker": Style(halo=0.12),
    "hatched": Style(finish=_hatched),
    "watercolour": Style(softness=0.04, finish=_watercolour),
    "halftone": Style(finish=_halftone),
    "neon": Style(finish=_neon),
    "mosaic": Style(finish=_mosaic),
    "glitch": Style(finish=_glitch),
}
