"""A scene drawn: antialiased by its distance fields, deterministic, at any size, with the masks of what was drawn."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lora_loom.studio.pocket.world.accessories import draw_accessory
from lora_loom.studio.pocket.world.backgrounds import BACKGROUNDS, Background
from lora_loom.studio.pocket.world.companions import COMPANION_SIZE, draw_companion
from lora_loom.studio.pocket.world.creatures import CREATURES, Creature, draw_creature
from lora_loom.studio.pocket.world.objects import OBJECTS
from lora_loom.studio.pocket.world.palette import COLOURS, INK, WHITE, Rgb, darker, jittered, lighter, mix, rgb
from lora_loom.studio.pocket.world.parts import Part
from lora_loom.studio.pocket.world.scene import Scene
from lora_loom.studio.pocket.world.shapes import Field, coverage, union
from lora_loom.studio.pocket.world.styles import STYLES, Style

SUBJECT_SIZE = 0.8
PLACE_X = {"centre": 0.0, "left": -0.24, "right": 0.24}


@dataclass(frozen=True)
class Render:
    """`image` float32 [h w 3] in [0, 1]; masks, bool [h w]: `subject` with its accessory, `accessory`, `companion`."""

    image: Rgb
    subject: NDArray[np.bool_]
    accessory: NDArray[np.bool_]
    companion: NDArray[np.bool_]


def render(
    scene: Scene,
    size: int = 64,
    creature: Creature | None = None,
    *,
    background: Background | None = None,
    style: Style | None = None,
    paint: Rgb | None = None,
) -> Render:
    """Draw `scene` as a square of `size` pixels. The same scene always gives the same pixels.

    `creature` replaces the scene's subject by any sentence of the grammar, named or not; `background`, `style` and
    `paint` (the subject's colour) replace the scene's own in the same way.
    """
    rng = np.random.default_rng(scene.variation)
    style, pixel = style or STYLES[scene.style], 2.0 / size
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * pixel - 1).astype(np.float32)
    v, u = np.meshgrid(axis, axis, indexing="ij")
    image = (background or BACKGROUNDS[scene.background])(u, v, pixel, rng)

    factor = SUBJECT_SIZE * scene.scale
    local_u, local_v = _subject_coordinates(scene, u, v, factor)
    creature = creature or CREATURES.get(scene.subject)
    draw = partial(draw_creature, creature) if creature else OBJECTS[scene.subject]
    parts, anchors = draw(local_u, local_v)
    worn = draw_accessory(scene.accessory, local_u, local_v, anchors)
    colour = jittered(rgb(COLOURS[scene.colour]) if paint is None else paint, rng)
    pattern = _texture(scene.texture, local_u, local_v, pixel / factor)

    beside = draw_companion(scene.companion, _companion_side(scene), u, v, np.random.default_rng((scene.variation, 1)))

    subject = union(*(part.field for part in (*parts, *worn))) * np.float32(factor)
    companion = union(*(part.field for part in beside)) * np.float32(COMPANION_SIZE) if beside else None
    silhouette = subject if companion is None else union(subject, companion)
    if style.halo:
        image = _halo(image, silhouette, style.halo, pixel)
    for part in (*parts, *worn):
        image = _paint(image, part, colour, pattern, style, factor, pixel)
    # a line as thick as the subject's would fill a small thing with ink
    thin = replace(style, line=style.line / 2)
    for part in beside:
        image = _paint(image, part, colour, None, thin, COMPANION_SIZE, pixel)
    if style.finish:
        image = style.finish(image, u, v, silhouette, pixel, rng)
    nothing = np.zeros_like(u, bool)
    return Render(
        np.clip(image, 0, 1).astype(np.float32),
        subject <= 0,
        union(*(part.field for part in worn)) <= 0 if worn else nothing,
        companion <= 0 if companion is not None else nothing,
    )


def _companion_side(scene: Scene) -> float:
    """Opposite the subject; beside a central one on either side, which has no name."""
    if scene.place == "centre":
        return 1.0 if scene.variation % 2 else -1.0
    return -float(np.sign(PLACE_X[scene.place]))


def _subject_coordinates(scene: Scene, u: Field, v: Field, factor: float) -> tuple[Field, Field]:
    x, y = PLACE_X[scene.place] + scene.x, 0.08 + scene.y
    cos, sin = np.float32(np.cos(scene.tilt)), np.float32(np.sin(scene.tilt))
    p, q = (u - np.float32(x)) / np.float32(factor), (v - np.float32(y)) / np.float32(factor)
    return cos * p + sin * q, cos * q - sin * p


def _texture(name: str, u: Field, v: Field, pixel: float) -> Field | None:
    """Share of the darker tone at every point of the subject, or None for a plain one."""
    if name == "striped":
        return coverage((np.abs(np.mod(v + 0.1, 0.4) - 0.2) - 0.1).astype(np.float32), pixel)
    if name == "dotted":
        row = np.floor(v / 0.34)
        x = np.mod(u + 0.17 * np.mod(row, 2), 0.34) - 0.17
        return coverage((np.hypot(x, np.mod(v, 0.34) - 0.17) - 0.095).astype(np.float32), pixel)
    if name == "checkered":
        period = 0.26
        # the product of two triangle waves is positive on every second square, and close to a distance at its edges
        x, y = (np.abs(np.mod(w, 2 * period) - period) - period / 2 for w in (u, v))
        return coverage((np.sign(x * y) * np.minimum(np.abs(x), np.abs(y))).astype(np.float32), pixel)
    return None


def _halo(image: Rgb, silhouette: Field, width: float, pixel: float) -> Rgb:
    k = max(1, round(0.06 / pixel))
    shadow = np.pad(silhouette, ((k, 0), (k, 0)), mode="edge")[:-k, :-k]  # what falls to the right and down
    dark = coverage(shadow - np.float32(width), 3 * pixel) * np.float32(0.35)
    image = image + dark[..., None] * (rgb(INK) - image)
    return image + coverage(silhouette - np.float32(width), pixel)[..., None] * (rgb(WHITE) - image)


def _paint(
    image: Rgb, part: Part, colour: Rgb, pattern: Field | None, style: Style, factor: float, pixel: float
) -> Rgb:
    field = part.field * np.float32(factor)
    paint: Rgb = part.paint if not isinstance(part.paint, str) else _shade(part.paint, colour)
    if isinstance(part.paint, str) and part.paint == "body" and pattern is not None:
        paint = paint + pattern[..., None] * (mix(colour, rgb(WHITE), 0.62) - paint)
    if style.line and part.outlined:
        edge = coverage(np.abs(field) - np.float32(style.line / 2), pixel)
        image = image + edge[..., None] * (rgb(INK) - image)
        field = field + np.float32(style.line / 2)
    alpha = coverage(field, pixel + style.softness)
    return image + alpha[..., None] * (paint - image)


def _shade(role: str, colour: Rgb) -> Rgb:
    return {"body": colour, "dark": darker(colour), "light": lighter(colour)}[role]
