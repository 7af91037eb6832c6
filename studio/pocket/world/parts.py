"""A subject as a stack of painted parts, and the places on it where accessories sit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_loom.studio.pocket.world.palette import INK, WHITE, Rgb, rgb
from lora_loom.studio.pocket.world.shapes import Field, arc, circle, ellipse


@dataclass(frozen=True)
class Part:
    """One filled shape: its distance field and its paint, either a role of the subject's colour or a fixed colour.

    Roles: `body` takes the colour and the texture, `dark` and `light` are shades of the colour. `outlined` parts get
    the line of the ink style.
    """

    field: Field
    paint: str | Rgb
    outlined: bool = True


@dataclass(frozen=True)
class Anchors:
    """Where accessories sit, in the subject's coordinates: top of the head, line of the eyes, neck."""

    top: tuple[float, float] = (0.0, -0.6)
    top_width: float = 0.4
    eyes: tuple[float, float] = (0.0, -0.15)
    eye_gap: float = 0.22
    neck: tuple[float, float] = (0.0, 0.2)
    neck_width: float = 0.42


Drawing = tuple[Sequence[Part], Anchors]


def eye(u: Field, v: Field, x: float, y: float, r: float = 0.1) -> list[Part]:
    """A round eye with a pupil and a glint."""
    return [
        Part(circle(u, v, x, y, r), rgb(WHITE), outlined=False),
        Part(circle(u, v, x, y + 0.01, r * 0.68), rgb(INK), outlined=False),
        Part(circle(u, v, x + r * 0.25, y - r * 0.28, r * 0.24), rgb(WHITE), outlined=False),
    ]


def face(
    u: Field, v: Field, x: float, y: float, gap: float = 0.22, size: float = 0.1, mouth: str = "smile"
) -> list[Part]:
    """Two eyes centred on (x, y), cheeks and a mouth."""
    parts = [*eye(u, v, x - gap, y, size), *eye(u, v, x + gap, y, size)]
    blush = rgb((255, 120, 130))
    for side in (-1, 1):
        parts.append(Part(ellipse(u, v, x + side * (gap + 0.1), y + 0.15, 0.07, 0.045), blush, outlined=False))
    if mouth == "smile":
        parts.append(Part(arc(u, v, x, y + 0.07, 0.1, 0.35, np.pi - 0.35, 0.022), rgb(INK), outlined=False))
    if mouth == "open":
        parts.append(Part(ellipse(u, v, x, y + 0.17, 0.06, 0.075), rgb((120, 30, 40)), outlined=False))
    return parts
