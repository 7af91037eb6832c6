"""What a subject can wear or hold, drawn onto its anchors."""

import numpy as np

from lora_loom.studio.pocket.world.palette import INK, WHITE, rgb
from lora_loom.studio.pocket.world.parts import Anchors, Part
from lora_loom.studio.pocket.world.shapes import Field, arc, box, capsule, circle, cut, ellipse, polygon, union


def draw_accessory(name: str, u: Field, v: Field, at: Anchors) -> list[Part]:
    """The accessory's parts, drawn over the subject; `none` is an empty list."""
    tx, ty = at.top
    ex, ey = at.eyes
    nx, ny = at.neck
    if name == "hat":
        w = max(at.top_width, 0.3)
        return [
            Part(box(u, v, tx, ty - 0.2, w * 0.72, 0.24, 0.05), rgb((118, 70, 40))),
            Part(box(u, v, tx, ty - 0.06, w * 0.72, 0.065), rgb((250, 206, 80)), outlined=False),
            Part(ellipse(u, v, tx, ty + 0.04, w * 1.35, 0.09), rgb((118, 70, 40))),
        ]
    if name == "scarf":
        w = at.neck_width
        band = box(u, v, nx, ny, w + 0.03, 0.11, 0.09)
        tail = box(u, v, nx + w * 0.5, ny + 0.22, 0.11, 0.22, 0.03)
        red, white = rgb((204, 36, 60)), rgb(WHITE)
        stripes = [Part(box(u, v, nx + w * 0.5, ny + 0.3, 0.11, 0.045), white, outlined=False)]
        stripes += [
            Part(box(u, v, nx - w * 0.55 + i * w * 0.5, ny, 0.05, 0.105), white, outlined=False) for i in range(3)
        ]
        return [Part(tail, red), Part(band, red), *stripes]
    if name == "glasses":
        ink, r = rgb(INK), 0.17
        left, right = ex - max(at.eye_gap, 0.17), ex + max(at.eye_gap, 0.17)
        rims = [cut(circle(u, v, x, ey, r), circle(u, v, x, ey, r - 0.06)) for x in (left, right)]
        temples = [
            capsule(u, v, (x + s * r, ey), (x + s * (r + 0.14), ey - 0.05), 0.025) for x, s in ((left, -1), (right, 1))
        ]
        return [Part(union(*rims, *temples, capsule(u, v, (left + r, ey), (right - r, ey), 0.03)), ink, outlined=False)]
    if name == "crown":
        w = max(at.top_width, 0.3) * 0.9
        spikes = [
            (-w, 0.1),
            (-w * 1.1, -0.34),
            (-w * 0.5, -0.1),
            (0, -0.42),
            (w * 0.5, -0.1),
            (w * 1.1, -0.34),
            (w, 0.1),
        ]
        jewels = [
            Part(circle(u, v, tx + x * w, ty + 0.0, 0.05), rgb(c), outlined=False)
            for x, c in ((-0.5, (226, 40, 70)), (0, (60, 120, 240)), (0.5, (226, 40, 70)))
        ]
        return [Part(polygon(u, v, [(tx + x, ty + y) for x, y in spikes], 0.02), rgb((252, 206, 60))), *jewels]
    if name == "bow":
        x, y, pink = tx + 0.24, ty + 0.02, rgb((255, 84, 150))
        wings = [polygon(u, v, [(x, y), (x + s * 0.3, y - 0.19), (x + s * 0.3, y + 0.19)], 0.03) for s in (-1, 1)]
        return [Part(union(*wings), pink), Part(circle(u, v, x, y, 0.09), rgb((200, 30, 96)))]
    if name == "headphones":
        w, y = max(at.top_width * 1.45, 0.42), ey
        band = arc(u, v, ex, y, w, np.pi, 2 * np.pi, 0.06)
        cups = [Part(box(u, v, ex + s * w, y + 0.04, 0.11, 0.19, 0.08), rgb((250, 84, 40))) for s in (-1, 1)]
        return [Part(band, rgb((60, 60, 76))), *cups]
    if name == "balloon":
        x, y = 0.72, -0.58
        string = capsule(u, v, (nx + at.neck_width * 0.9, ny), (x, y + 0.3), 0.022)
        glint = Part(ellipse(u, v, x - 0.09, y - 0.1, 0.05, 0.08), rgb(WHITE), outlined=False)
        return [
            Part(string, rgb((240, 240, 240)), outlined=False),
            Part(ellipse(u, v, x, y, 0.25, 0.31), rgb((236, 50, 70))),
            glint,
        ]
    return []
