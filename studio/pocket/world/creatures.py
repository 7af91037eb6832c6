"""The creature grammar: a body with ears or horns, eyes, limbs and marks, of which every creature is one sentence."""

from dataclasses import dataclass, fields

import numpy as np

from lora_loom.studio.pocket.world.palette import INK, WHITE, rgb
from lora_loom.studio.pocket.world.parts import Anchors, Drawing, Part, eye, face
from lora_loom.studio.pocket.world.shapes import (
    Field,
    arc,
    capsule,
    circle,
    cut,
    ellipse,
    intersection,
    polygon,
    polyline,
    union,
)


@dataclass(frozen=True)
class Creature:
    """One sentence of the grammar; any combination draws."""

    body: str = "round"  # round, tall, wide, pear, dome, sheet
    ears: str = "none"  # none, cat, bunny, bear, floppy, tufts
    horns: str = "none"  # none, one, two, antenna, antennae
    eyes: str = "two"  # two, one, three, rings
    mouth: str = "smile"  # smile, open, beak, fangs, snout
    limbs: str = "feet"  # none, feet, tentacles, wings, batwings, legs
    tail: str = "none"  # none, curl
    belly: bool = False


CREATURES: dict[str, Creature] = {
    "cat": Creature(ears="cat", tail="curl"),
    "bunny": Creature(body="pear", ears="bunny", belly=True),
    "bear": Creature(body="wide", ears="bear", mouth="snout"),
    "chick": Creature(mouth="beak", limbs="wings"),
    "octopus": Creature(body="dome", limbs="tentacles"),
    "ghost": Creature(body="sheet", limbs="none", mouth="open"),
    "bloop": Creature(body="tall", eyes="one", horns="antenna", limbs="none"),
    "snorn": Creature(body="wide", horns="one", mouth="fangs"),
    "triclo": Creature(body="dome", eyes="three", limbs="tentacles", horns="antennae"),
    "impy": Creature(horns="two", limbs="batwings", mouth="fangs"),
    "owlet": Creature(body="pear", ears="tufts", eyes="rings", mouth="beak", limbs="wings"),
    "snaggle": Creature(body="wide", eyes="one", mouth="fangs", limbs="legs"),
    "buggle": Creature(body="wide", horns="antennae", limbs="legs", mouth="open"),
    "floppet": Creature(body="tall", ears="floppy", mouth="snout"),
}

_BODY = {  # centre y, half width, half height
    "round": (0.1, 0.5, 0.5),
    "tall": (0.08, 0.4, 0.58),
    "wide": (0.16, 0.6, 0.44),
    "pear": (0.12, 0.48, 0.52),
    "dome": (-0.02, 0.5, 0.46),
    "sheet": (0.05, 0.46, 0.6),
}


def random_creature(rng: np.random.Generator) -> Creature:
    """A sentence of the grammar that is none of the named creatures."""
    words = {
        "body": tuple(_BODY),
        "ears": ("none", "cat", "bunny", "bear", "floppy", "tufts"),
        "horns": ("none", "none", "one", "two", "antenna", "antennae"),
        "eyes": ("two", "one", "three", "rings"),
        "mouth": ("smile", "open", "beak", "fangs", "snout"),
        "limbs": ("none", "feet", "tentacles", "wings", "batwings", "legs"),
        "tail": ("none", "curl"),
    }
    while True:
        choice = {part: str(rng.choice(options)) for part, options in words.items()}
        creature = Creature(**choice, belly=bool(rng.random() < 0.3))
        if min(_differences(creature, known) for known in CREATURES.values()) >= 3:
            return creature


def _differences(a: Creature, b: Creature) -> int:
    return sum(getattr(a, f.name) != getattr(b, f.name) for f in fields(Creature))


def draw_creature(creature: Creature, u: Field, v: Field) -> Drawing:
    y, w, h = _BODY[creature.body]
    top = y - h
    body = _body(creature.body, u, v, y, w, h)
    eye_y = y - 0.28 * h
    parts = [*_tail(creature, u, v, y, w), *_limbs(creature, u, v, y, w, h), *_ears(creature, u, v, top, w)]
    parts += _horns(creature, u, v, top)
    parts.append(Part(body, "body"))
    if creature.belly:
        parts.append(Part(ellipse(u, v, 0, y + 0.45 * h, w * 0.55, h * 0.42), "light", outlined=False))
    parts += _eyes(creature, u, v, eye_y)
    parts += _mouth(creature, u, v, eye_y)
    neck_y = y + 0.36 * h
    neck_w = float(w * np.sqrt(1 - 0.36**2)) if creature.body != "sheet" else w
    return parts, Anchors((0, top + 0.03), w * 0.62, (0, eye_y), 0.2, (0, neck_y), neck_w)


def _body(kind: str, u: Field, v: Field, y: float, w: float, h: float) -> Field:
    if kind == "pear":
        return union(ellipse(u, v, 0, y + 0.1, w, h - 0.1), ellipse(u, v, 0, y - 0.14, w * 0.78, h - 0.14))
    if kind == "sheet":
        shroud = union(
            circle(u, v, 0, y - h + w, w), polygon(u, v, [(-w, y - h + w), (w, y - h + w), (w, y + h), (-w, y + h)])
        )
        for i in range(3):
            shroud = cut(shroud, circle(u, v, (i - 1) * 2 * w / 3, y + h + 0.02, w / 4))
        return shroud
    return ellipse(u, v, 0, y, w, h)


def _tail(creature: Creature, u: Field, v: Field, y: float, w: float) -> list[Part]:
    if creature.tail == "none":
        return []
    curl = polyline(u, v, [(w * 0.7, y + 0.3), (w + 0.16, y + 0.28), (w + 0.24, y + 0.02), (w + 0.12, y - 0.14)], 0.065)
    return [Part(curl, "dark")]


def _limbs(creature: Creature, u: Field, v: Field, y: float, w: float, h: float) -> list[Part]:
    bottom = y + h
    if creature.limbs == "feet":
        return [Part(ellipse(u, v, s * w * 0.45, bottom - 0.02, 0.17, 0.1), "dark") for s in (-1, 1)]
    if creature.limbs == "wings":
        wings = [Part(ellipse(u, v, s * (w + 0.06), y + 0.1, 0.16, 0.26), "dark") for s in (-1, 1)]
        toes = [
            Part(capsule(u, v, (s * 0.16, bottom - 0.05), (s * 0.2, bottom + 0.1), 0.045), rgb((240, 150, 40)))
            for s in (-1, 1)
        ]
        return toes + wings
    if creature.limbs == "batwings":
        return [
            Part(
                polygon(
                    u,
                    v,
                    [
                        (s * w * 0.7, y),
                        (s * 0.95, y - 0.42),
                        (s * 0.93, y + 0.02),
                        (s * 0.78, y + 0.02),
                        (s * 0.7, y + 0.24),
                    ],
                ),
                "dark",
            )
            for s in (-1, 1)
        ] + [Part(ellipse(u, v, s * w * 0.45, bottom - 0.02, 0.15, 0.09), "dark") for s in (-1, 1)]
    if creature.limbs == "tentacles":
        roots = (-0.4, -0.14, 0.14, 0.4)
        return [
            Part(
                polyline(u, v, [(x * 0.85, y + h * 0.6), (x * 1.15, y + h + 0.16), (x * 1.5, y + h + 0.3)], 0.09),
                "dark",
            )
            for x in roots
        ]
    if creature.limbs == "legs":
        return [
            Part(
                polyline(
                    u,
                    v,
                    [(x, y + h * 0.55), (x * 1.25, bottom + 0.02), (x * 1.25 + np.sign(x) * 0.05, bottom + 0.18)],
                    0.05,
                ),
                "dark",
            )
            for x in (-0.42, -0.16, 0.16, 0.42)
        ]
    return []


def _ears(creature: Creature, u: Field, v: Field, top: float, w: float) -> list[Part]:
    inner = rgb((255, 170, 180))
    parts: list[Part] = []
    for s in (-1, 1):
        if creature.ears == "cat":
            parts.append(
                Part(
                    polygon(u, v, [(s * 0.46, top - 0.2), (s * 0.08, top + 0.08), (s * 0.48, top + 0.34)], 0.03), "body"
                )
            )
            parts.append(
                Part(
                    polygon(u, v, [(s * 0.4, top - 0.07), (s * 0.22, top + 0.07), (s * 0.41, top + 0.2)]),
                    inner,
                    outlined=False,
                )
            )
        if creature.ears == "bunny":
            parts.append(Part(ellipse(u, v, s * 0.22, top - 0.2, 0.115, 0.38), "body"))
            parts.append(Part(ellipse(u, v, s * 0.22, top - 0.18, 0.055, 0.27), inner, outlined=False))
        if creature.ears == "bear":
            parts.append(Part(circle(u, v, s * w * 0.7, top + 0.1, 0.17), "body"))
            parts.append(Part(circle(u, v, s * w * 0.7, top + 0.1, 0.09), "light", outlined=False))
        if creature.ears == "floppy":
            parts.append(Part(ellipse(u, v, s * (w + 0.1), top + 0.42, 0.14, 0.36), "dark"))
        if creature.ears == "tufts":
            parts.append(
                Part(
                    polygon(u, v, [(s * 0.44, top - 0.26), (s * 0.1, top + 0.06), (s * 0.34, top + 0.22)], 0.015),
                    "dark",
                )
            )
    return parts


def _horns(creature: Creature, u: Field, v: Field, top: float) -> list[Part]:
    gold, parts = rgb((250, 200, 70)), []
    if creature.horns == "one":
        parts.append(Part(polygon(u, v, [(-0.13, top + 0.08), (0, top - 0.5), (0.13, top + 0.08)], 0.015), gold))
    if creature.horns == "two":
        for s in (-1, 1):
            parts.append(
                Part(polygon(u, v, [(s * 0.16, top + 0.1), (s * 0.44, top - 0.3), (s * 0.38, top + 0.2)], 0.02), gold)
            )
    if creature.horns in ("antenna", "antennae"):
        for x in (0.0,) if creature.horns == "antenna" else (-0.24, 0.24):
            parts.append(Part(capsule(u, v, (x * 0.7, top + 0.1), (x * 1.2, top - 0.22), 0.04), "dark"))
            parts.append(Part(circle(u, v, x * 1.2, top - 0.26, 0.11), gold))
    return parts


def _eyes(creature: Creature, u: Field, v: Field, y: float) -> list[Part]:
    if creature.eyes == "one":
        return eye(u, v, 0, y, 0.24)
    if creature.eyes == "three":
        return [*eye(u, v, -0.25, y + 0.02, 0.105), *eye(u, v, 0, y - 0.1, 0.105), *eye(u, v, 0.25, y + 0.02, 0.105)]
    if creature.eyes == "rings":
        rings = [Part(circle(u, v, s * 0.19, y, 0.19), rgb((255, 236, 190))) for s in (-1, 1)]
        return [*rings, *eye(u, v, -0.19, y, 0.12), *eye(u, v, 0.19, y, 0.12)]
    return face(u, v, 0, y, 0.2, 0.105, "none")


def _mouth(creature: Creature, u: Field, v: Field, eye_y: float) -> list[Part]:
    low = eye_y + (0.3 if creature.eyes == "one" else 0.2)
    ink, white = rgb(INK), rgb(WHITE)
    if creature.mouth == "smile":
        return [Part(arc(u, v, 0, low - 0.12, 0.11, 0.35, np.pi - 0.35, 0.024), ink, outlined=False)]
    if creature.mouth == "open":
        return [Part(ellipse(u, v, 0, low + 0.03, 0.075, 0.09), rgb((96, 24, 44)), outlined=False)]
    if creature.mouth == "beak":
        return [
            Part(polygon(u, v, [(-0.12, low - 0.07), (0.12, low - 0.07), (0, low + 0.12)], 0.02), rgb((245, 150, 40)))
        ]
    if creature.mouth == "snout":
        return [
            Part(ellipse(u, v, 0, low + 0.02, 0.19, 0.13), "light"),
            Part(ellipse(u, v, 0, low - 0.03, 0.07, 0.045), ink, outlined=False),
        ]
    grin = intersection(ellipse(u, v, 0, low - 0.04, 0.24, 0.17), low - 0.02 - v)
    fangs = [
        Part(
            polygon(u, v, [(s * 0.15, low - 0.02), (s * 0.05, low - 0.02), (s * 0.1, low + 0.1)]), white, outlined=False
        )
        for s in (-1, 1)
    ]
    return [Part(grin, rgb((96, 24, 44)), outlined=False), *fangs]
