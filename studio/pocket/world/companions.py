"""Small things that stand beside the subject: each a function from coordinates to parts, in colours of its own."""

from collections.abc import Callable, Sequence

import numpy as np

from lora_loom.studio.pocket.world.palette import WHITE, rgb
from lora_loom.studio.pocket.world.parts import Part
from lora_loom.studio.pocket.world.shapes import (
    Field,
    arc,
    box,
    capsule,
    circle,
    cut,
    ellipse,
    intersection,
    polygon,
    union,
)

# units of half a picture: how far from the middle a companion stands, how low, and half its size; chosen so that it
# stays inside the picture and below and beside every face, whatever the subject's pose
COMPANION_X, COMPANION_Y, COMPANION_SIZE = 0.66, 0.64, 0.31

WOOD, LEAF, GOLD, CREAM = (130, 80, 46), (58, 150, 74), (250, 206, 80), (250, 246, 236)


def _ball(u: Field, v: Field) -> Sequence[Part]:
    ball = circle(u, v, 0, 0.2, 0.74)
    stripe = intersection(ball, cut(ellipse(u, v, 0, 0.2, 0.46, 0.76), ellipse(u, v, 0, 0.2, 0.16, 0.76)))
    button = circle(u, v, 0, -0.44, 0.13)
    return [
        Part(ball, rgb((52, 108, 220))),
        Part(stripe, rgb(WHITE), outlined=False),
        Part(button, rgb((232, 62, 56)), outlined=False),
    ]


def _flower(u: Field, v: Field) -> Sequence[Part]:
    angles = [i * np.pi / 3 for i in range(6)]
    petals = [circle(u, v, 0.36 * float(np.cos(a)), -0.34 + 0.36 * float(np.sin(a)), 0.26) for a in angles]
    return [
        Part(capsule(u, v, (0, 0.9), (0, -0.2), 0.07), rgb(LEAF)),
        *(Part(ellipse(u + s * v * 0.5, v, s * 0.66, 0.62, 0.32, 0.14), rgb(LEAF)) for s in (-1, 1)),
        Part(union(*petals), rgb((186, 104, 232))),
        Part(circle(u, v, 0, -0.34, 0.24), rgb(GOLD)),
    ]


def _lamp(u: Field, v: Field) -> Sequence[Part]:
    return [
        Part(capsule(u, v, (0, -0.2), (0, 0.8), 0.07), rgb(WOOD)),
        Part(ellipse(u, v, 0, 0.82, 0.42, 0.12), rgb(WOOD)),
        Part(polygon(u, v, [(-0.3, -0.86), (0.3, -0.86), (0.66, 0.0), (-0.66, 0.0)], 0.04), rgb((255, 214, 92))),
        Part(box(u, v, 0, -0.04, 0.68, 0.07), rgb((240, 128, 60)), outlined=False),
    ]


def _gift(u: Field, v: Field) -> Sequence[Part]:
    loops = [ellipse(u + s * v * 0.5, v, s * 0.0, -0.56, 0.3, 0.16) for s in (-1, 1)]
    return [
        Part(box(u, v, 0, 0.32, 0.66, 0.56, 0.05), rgb((22, 142, 152))),
        Part(box(u, v, 0, -0.18, 0.76, 0.16, 0.05), rgb((30, 170, 178))),
        Part(box(u, v, 0, 0.28, 0.13, 0.6), rgb(GOLD), outlined=False),
        Part(union(*loops), rgb(GOLD)),
    ]


def _apple(u: Field, v: Field) -> Sequence[Part]:
    flesh = union(ellipse(u, v, -0.24, 0.26, 0.5, 0.6), ellipse(u, v, 0.24, 0.26, 0.5, 0.6))
    return [
        Part(capsule(u, v, (0, -0.2), (0.1, -0.64), 0.06), rgb(WOOD)),
        Part(ellipse(u, v + u * 0.5, 0.4, -0.36, 0.3, 0.14), rgb(LEAF)),
        Part(flesh, rgb((206, 32, 44))),
        Part(ellipse(u, v, -0.36, 0.0, 0.12, 0.2), rgb((255, 170, 160)), outlined=False),
    ]


def _umbrella(u: Field, v: Field) -> Sequence[Part]:
    canopy = intersection(ellipse(u, v, 0, 0.04, 0.94, 0.88), v - 0.06)
    for i in range(3):
        canopy = cut(canopy, circle(u, v, -0.6 + 0.6 * i, 0.14, 0.25))
    panel = intersection(canopy, ellipse(u, v, 0, 0.04, 0.36, 0.9))
    hook = union(capsule(u, v, (0, -0.1), (0, 0.7), 0.06), arc(u, v, 0.16, 0.7, 0.16, 0.0, np.pi, 0.06))
    return [
        Part(hook, rgb(WOOD)),
        Part(canopy, rgb((226, 66, 120))),
        Part(panel, rgb((255, 196, 214)), outlined=False),
    ]


def _boat(u: Field, v: Field) -> Sequence[Part]:
    hull = polygon(u, v, [(-0.88, 0.28), (0.88, 0.28), (0.58, 0.86), (-0.58, 0.86)], 0.04)
    return [
        Part(capsule(u, v, (0, 0.3), (0, -0.86), 0.06), rgb(WOOD)),
        Part(polygon(u, v, [(0.1, -0.82), (0.76, 0.2), (0.1, 0.2)], 0.02), rgb(CREAM)),
        Part(polygon(u, v, [(-0.1, -0.62), (-0.62, 0.2), (-0.1, 0.2)], 0.02), rgb((255, 168, 72))),
        Part(hull, rgb((40, 84, 176))),
    ]


def _cactus(u: Field, v: Field) -> Sequence[Part]:
    green, dark = rgb((74, 168, 84)), rgb((52, 130, 66))
    arms = [
        union(capsule(u, v, (s * 0.2, y), (s * 0.62, y), 0.13), capsule(u, v, (s * 0.62, y), (s * 0.62, y - 0.3), 0.13))
        for s, y in ((-1, 0.16), (1, -0.04))
    ]
    pot = polygon(u, v, [(-0.5, 0.44), (0.5, 0.44), (0.38, 0.9), (-0.38, 0.9)], 0.03)
    return [
        *(Part(arm, dark) for arm in arms),
        Part(box(u, v, 0, -0.1, 0.3, 0.66, 0.28), green),
        Part(pot, rgb((196, 100, 60))),
        Part(circle(u, v, 0, -0.76, 0.16), rgb((255, 120, 176))),
    ]


def _cake(u: Field, v: Field) -> Sequence[Part]:
    icing = union(box(u, v, 0, 0.02, 0.74, 0.15, 0.1), *(circle(u, v, -0.54 + 0.36 * i, 0.16, 0.17) for i in range(4)))
    return [
        Part(capsule(u, v, (0, -0.1), (0, -0.46), 0.09), rgb((90, 150, 240))),
        Part(ellipse(u, v, 0, -0.68, 0.11, 0.2), rgb((255, 160, 40))),
        Part(box(u, v, 0, 0.44, 0.74, 0.44, 0.05), rgb((168, 104, 62))),
        Part(icing, rgb((255, 236, 240))),
    ]


COMPANIONS: dict[str, Callable[[Field, Field], Sequence[Part]]] = {
    "ball": _ball,
    "flower": _flower,
    "lamp": _lamp,
    "gift": _gift,
    "apple": _apple,
    "umbrella": _umbrella,
    "boat": _boat,
    "cactus": _cactus,
    "cake": _cake,
}


def draw_companion(name: str, side: float, u: Field, v: Field, rng: np.random.Generator) -> Sequence[Part]:
    """The companion's parts on the left (`side` -1) or right (1) of the picture; `none` is an empty list.

    The fields are in the companion's own units, `COMPANION_SIZE` of half a picture each.
    """
    if name == "none":
        return []
    x, y = side * COMPANION_X + rng.uniform(-0.03, 0.03), COMPANION_Y + rng.uniform(-0.03, 0.03)
    local_u, local_v = ((w - np.float32(at)) / np.float32(COMPANION_SIZE) for w, at in ((u, x), (v, y)))
    return COMPANIONS[name](local_u, local_v)
