"""The things of the pocket world: each a function from coordinates to parts, all with a face."""

from collections.abc import Callable

from lora_loom.studio.pocket.world.palette import rgb
from lora_loom.studio.pocket.world.parts import Anchors, Drawing, Part, face
from lora_loom.studio.pocket.world.shapes import (
    Field,
    box,
    circle,
    cut,
    ellipse,
    heart,
    intersection,
    polygon,
    star,
)


def _star(u: Field, v: Field) -> Drawing:
    parts = [Part(star(u, v, 0, 0.05, 0.78, 5, 0.52), "body"), *face(u, v, 0, 0.0, 0.17, 0.09)]
    return parts, Anchors((0, -0.62), 0.2, (0, 0.0), 0.17, (0, 0.28), 0.36)


def _heart(u: Field, v: Field) -> Drawing:
    parts = [Part(heart(u, v, 0, -0.02, 0.72), "body"), *face(u, v, 0, -0.12, 0.2)]
    return parts, Anchors((0, -0.42), 0.34, (0, -0.12), 0.2, (0, 0.22), 0.42)


def _house(u: Field, v: Field) -> Drawing:
    parts = [
        Part(box(u, v, 0.3, -0.48, 0.09, 0.22), "dark"),
        Part(box(u, v, 0, 0.22, 0.5, 0.46, 0.02), "body"),
        Part(polygon(u, v, [(-0.68, -0.18), (0, -0.78), (0.68, -0.18)], 0.02), "dark"),
        Part(box(u, v, 0, 0.52, 0.13, 0.16, 0.03), rgb((120, 72, 46))),
        *face(u, v, 0, 0.02, 0.23, 0.1),
    ]
    return parts, Anchors((0, -0.72), 0.28, (0, 0.02), 0.23, (0, 0.3), 0.5)


def _mushroom(u: Field, v: Field) -> Drawing:
    cap = intersection(ellipse(u, v, 0, -0.08, 0.72, 0.6), v - 0.0)
    stem = rgb((250, 236, 206))
    parts = [Part(box(u, v, 0, 0.34, 0.26, 0.36, 0.12), stem), Part(cap, "body"), *face(u, v, 0, 0.2, 0.13, 0.085)]
    return parts, Anchors((0, -0.64), 0.42, (0, 0.2), 0.14, (0, 0.46), 0.27)


def _rocket(u: Field, v: Field) -> Drawing:
    flame = rgb((255, 176, 50))
    parts = [
        Part(polygon(u, v, [(-0.18, 0.55), (0.18, 0.55), (0, 0.95)], 0.02), flame),
        *(Part(polygon(u, v, [(s * 0.28, 0.1), (s * 0.58, 0.62), (s * 0.24, 0.52)], 0.02), "dark") for s in (-1, 1)),
        Part(intersection(ellipse(u, v, 0, 0.0, 0.38, 0.82), v - 0.56), "body"),
        Part(intersection(ellipse(u, v, 0, 0.0, 0.38, 0.82), v + 0.42), "dark"),
        *face(u, v, 0, -0.08, 0.16, 0.09),
    ]
    return parts, Anchors((0, -0.74), 0.22, (0, -0.08), 0.16, (0, 0.24), 0.37)


def _cup(u: Field, v: Field) -> Drawing:
    handle = cut(circle(u, v, 0.5, 0.12, 0.27), circle(u, v, 0.5, 0.12, 0.14))
    parts = [
        Part(handle, "dark"),
        Part(polygon(u, v, [(-0.52, -0.34), (0.52, -0.34), (0.38, 0.62), (-0.38, 0.62)], 0.05), "body"),
        Part(ellipse(u, v, 0, -0.36, 0.52, 0.11), rgb((92, 52, 36))),
        *face(u, v, 0, 0.06, 0.2),
    ]
    return parts, Anchors((0, -0.42), 0.4, (0, 0.06), 0.2, (0, 0.36), 0.44)


OBJECTS: dict[str, Callable[[Field, Field], Drawing]] = {
    "star": _star,
    "heart": _heart,
    "house": _house,
    "mushroom": _mushroom,
    "rocket": _rocket,
    "cup": _cup,
}
