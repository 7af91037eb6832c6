"""The places of the pocket world: each a function from coordinates and a random generator to colours [h w 3]."""

from collections.abc import Callable

import numpy as np

from lora_loom.studio.pocket.world.palette import Rgb, jittered, rgb
from lora_loom.studio.pocket.world.shapes import Field, capsule, circle, coverage, ellipse, polygon

Rng = np.random.Generator
Image = Rgb
Background = Callable[[Field, Field, float, Rng], Image]


def _fill(u: Field, colour: Rgb) -> Image:
    return np.broadcast_to(colour, (*u.shape, 3)).astype(np.float32).copy()


def _over(image: Image, alpha: Field, colour: Rgb) -> Image:
    return image + alpha[..., None] * (colour - image)


def _gradient(v: Field, top: Rgb, bottom: Rgb) -> Image:
    share = np.clip((v + 1) / 2, 0, 1)[..., None]
    return (top * (1 - share) + bottom * share).astype(np.float32)


def _paper(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    return _fill(u, jittered(rgb((240, 234, 222)), rng))


def _meadow(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _fill(u, jittered(rgb((168, 220, 250)), rng))
    phase = rng.uniform(-0.4, 0.4)
    far = ellipse(u, v, -0.6 + phase, 0.95, 1.0, 0.75)
    image = _over(image, coverage(far, pixel), jittered(rgb((134, 200, 92)), rng))
    near = ellipse(u, v, 0.7 + phase, 1.15, 1.5, 0.8)
    return _over(image, coverage(near, pixel), jittered(rgb((104, 176, 74)), rng))


def _sea(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _fill(u, jittered(rgb((206, 236, 246)), rng))
    phase = rng.uniform(0, 2 * np.pi)
    for i, colour in enumerate(((96, 176, 216), (58, 140, 196), (34, 104, 168))):
        level = 0.0 + 0.34 * i + 0.07 * np.sin(u * 7 + phase + 1.7 * i)
        image = _over(image, coverage((level - v).astype(np.float32), pixel), jittered(rgb(colour), rng))
    return image


def _night(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _fill(u, jittered(rgb((24, 26, 66)), rng, 0.015))
    pale = rgb((255, 244, 196))
    for x, y in rng.uniform(-0.95, 0.95, (14, 2)):
        image = _over(image, coverage(circle(u, v, float(x), float(y), 0.04), pixel), pale)
    x = float(rng.choice((-0.7, 0.7)))
    moon = np.maximum(circle(u, v, x, -0.68, 0.2), -circle(u, v, x + 0.1, -0.73, 0.17))
    return _over(image, coverage(moon, pixel), pale)


def _desert(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _gradient(v, jittered(rgb((255, 240, 196)), rng), rgb((250, 222, 160)))
    phase = rng.uniform(0, 2 * np.pi)
    for i, colour in enumerate(((228, 178, 106), (206, 148, 78), (182, 122, 60))):
        level = 0.02 + 0.34 * i + 0.14 * np.abs(np.sin(u * 1.7 + phase + 1.3 * i))
        image = _over(image, coverage((level - v).astype(np.float32), pixel), jittered(rgb(colour), rng))
    return image


def _room(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _fill(u, jittered(rgb((214, 196, 226)), rng))
    image = _over(image, coverage((0.42 - v).astype(np.float32), pixel), jittered(rgb((150, 104, 72)), rng))
    image = _over(image, coverage((np.abs(v - 0.42) - 0.05).astype(np.float32), pixel), rgb((250, 246, 240)))
    x = float(rng.choice((-0.66, 0.66)))
    frame = np.maximum(np.abs(u - x) - 0.26, np.abs(v + 0.5) - 0.3)
    image = _over(image, coverage(frame, pixel), rgb((250, 246, 240)))
    glass = np.maximum(np.abs(np.abs(u - x) - 0.11) - 0.085, np.abs(np.abs(v + 0.5) - 0.13) - 0.1)
    return _over(image, coverage(glass, pixel), rgb((140, 206, 240)))


def _snow(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _fill(u, jittered(rgb((136, 166, 196)), rng))
    white = rgb((250, 252, 255))
    image = _over(image, coverage(ellipse(u, v, rng.uniform(-0.3, 0.3), 1.25, 1.9, 0.85), pixel), white)
    for x, y in rng.uniform(-0.95, 0.95, (22, 2)):
        image = _over(image, coverage(circle(u, v, float(x), float(y), 0.05), pixel), white)
    return image


def _sunset(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _gradient(v, jittered(rgb((96, 60, 140)), rng), rgb((255, 150, 90)))
    sun = circle(u, v, float(rng.uniform(-0.3, 0.3)), 0.42, 0.42)
    image = _over(image, coverage(sun, pixel), rgb((255, 232, 140)))
    return _over(image, coverage((0.55 - v).astype(np.float32), pixel), jittered(rgb((92, 40, 92)), rng))


def _city(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _gradient(v, jittered(rgb((120, 150, 180)), rng), rgb((240, 214, 190)))
    lit = rgb((255, 226, 120))
    edges = np.linspace(-1.1, 1.1, 7)
    for i in range(6):
        x, half = float(edges[i] + edges[i + 1]) / 2, 0.165
        top = float(rng.uniform(-0.75, 0.05))
        image = _over(image, coverage(np.maximum(np.abs(u - x) - half, top - v), pixel), rgb((62, 66, 84)))
        rows = np.abs(np.mod(v - top - 0.16, 0.26) - 0.13) - 0.065
        panes = np.maximum(np.maximum(np.abs(np.abs(u - x) - 0.075) - 0.04, rows), top + 0.1 - v)
        image = _over(image, coverage(panes.astype(np.float32), pixel), lit)
    return image


def _forest(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _fill(u, jittered(rgb((206, 226, 200)), rng))
    shift = float(rng.uniform(-0.15, 0.15))
    for row, (base, colour) in enumerate(((0.35, (70, 132, 96)), (0.75, (44, 100, 70)), (1.15, (26, 72, 52)))):
        for i in range(6):
            x = -1.15 + 0.46 * i + 0.23 * (row % 2) + shift
            tree = polygon(u, v, [(x - 0.3, base), (x, base - 1.0), (x + 0.3, base)])
            image = _over(image, coverage(tree, pixel), rgb(colour))
    return _over(image, coverage((0.86 - v).astype(np.float32), pixel), rgb((26, 72, 52)))


def _bubbles(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _gradient(v, jittered(rgb((60, 190, 186)), rng), rgb((14, 96, 120)))
    for x in (-0.82, -0.6, 0.62, 0.86):
        sway = 0.06 * np.sin(v * 8 + x * 9)
        image = _over(
            image,
            coverage(capsule(u + sway.astype(np.float32), v, (x, 1.1), (x, 0.1), 0.07), pixel),
            rgb((30, 130, 80)),
        )
    for x, y, r in zip(
        rng.uniform(-0.95, 0.95, 12), rng.uniform(-0.95, 0.9, 12), rng.uniform(0.07, 0.14, 12), strict=True
    ):
        ring = np.abs(circle(u, v, float(x), float(y), float(r))) - 0.025
        image = _over(image, coverage(ring, pixel), rgb((226, 252, 250)))
    return image


def _polka(u: Field, v: Field, pixel: float, rng: Rng) -> Image:
    image = _fill(u, jittered(rgb((250, 176, 190)), rng))
    period, phase = 0.42, rng.uniform(0, 0.42, 2)
    row = np.floor((v + phase[1]) / period)
    x = np.mod(u + phase[0] + 0.5 * period * np.mod(row, 2), period) - period / 2
    y = np.mod(v + phase[1], period) - period / 2
    dots = np.hypot(x, y) - 0.115
    return _over(image, coverage(dots.astype(np.float32), pixel), rgb((255, 252, 246)))


BACKGROUNDS: dict[str, Background] = {
    "paper": _paper,
    "meadow": _meadow,
    "sea": _sea,
    "night": _night,
    "desert": _desert,
    "room": _room,
    "snow": _snow,
    "sunset": _sunset,
    "city": _city,
    "forest": _forest,
    "bubbles": _bubbles,
    "polka": _polka,
}
