"""Signed distance functions in the plane: negative inside, in the units of the coordinates, y pointing down.

Every function takes coordinate arrays `u`, `v` of one shape and returns an array of that shape. Distances are exact
for circles, boxes, capsules and polygons and close to exact near the edge for ellipses, which is all that
antialiasing needs.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
Point = tuple[float, float]


def circle(u: Field, v: Field, x: float, y: float, r: float) -> Field:
    return np.hypot(u - x, v - y) - np.float32(r)


def ellipse(u: Field, v: Field, x: float, y: float, rx: float, ry: float) -> Field:
    p, q = (u - x) / rx, (v - y) / ry
    length = np.hypot(p, q)
    gradient = np.hypot(p / rx, q / ry) + np.float32(1e-6)
    return length * (length - 1) / gradient


def box(u: Field, v: Field, x: float, y: float, half_w: float, half_h: float, corner: float = 0.0) -> Field:
    p, q = np.abs(u - x) - (half_w - corner), np.abs(v - y) - (half_h - corner)
    outside = np.hypot(np.maximum(p, 0), np.maximum(q, 0))
    return outside + np.minimum(np.maximum(p, q), 0) - np.float32(corner)


def capsule(u: Field, v: Field, start: Point, end: Point, r: float) -> Field:
    (ax, ay), (bx, by) = start, end
    dx, dy = bx - ax, by - ay
    along = np.clip(((u - ax) * dx + (v - ay) * dy) / (dx * dx + dy * dy + 1e-9), 0, 1)
    return np.hypot(u - ax - along * dx, v - ay - along * dy) - np.float32(r)


def polyline(u: Field, v: Field, points: Sequence[Point], r: float) -> Field:
    return union(*(capsule(u, v, a, b, r) for a, b in itertools.pairwise(points)))


def polygon(u: Field, v: Field, points: Sequence[Point], corner: float = 0.0) -> Field:
    """Distance to a simple polygon, optionally swollen by `corner` so that its corners are round."""
    squared = np.full_like(u, np.inf)
    sign = np.ones_like(u)
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        ex, ey, wx, wy = bx - ax, by - ay, u - ax, v - ay
        along = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey + 1e-12), 0, 1)
        squared = np.minimum(squared, (wx - along * ex) ** 2 + (wy - along * ey) ** 2)
        above, below, left = v >= ay, v < by, ex * wy > ey * wx
        crossing = (above & below & left) | (~above & ~below & ~left)
        sign = np.where(crossing, -sign, sign)
    return sign * np.sqrt(squared) - np.float32(corner)


def star(u: Field, v: Field, x: float, y: float, r: float, points: int = 5, inner: float = 0.5) -> Field:
    angles = [(-np.pi / 2 + i * np.pi / points, r if i % 2 == 0 else r * inner) for i in range(2 * points)]
    return polygon(u, v, [(x + radius * float(np.cos(a)), y + radius * float(np.sin(a))) for a, radius in angles], 0.05)


def heart(u: Field, v: Field, x: float, y: float, size: float) -> Field:
    lobe = 0.5 * size
    left, right = (
        circle(u, v, x - 0.46 * size, y - 0.3 * size, lobe),
        circle(u, v, x + 0.46 * size, y - 0.3 * size, lobe),
    )
    tip = polygon(u, v, [(x - 0.86 * size, y), (x, y - 0.45 * size), (x + 0.86 * size, y), (x, y + 0.92 * size)], 0.03)
    return union(left, right, tip)


def arc(u: Field, v: Field, x: float, y: float, r: float, start: float, end: float, width: float) -> Field:
    """A stroked arc from angle `start` to `end` (radians, clockwise on screen because y points down)."""
    steps = max(3, int(abs(end - start) * 4))
    angles = np.linspace(start, end, steps)
    return polyline(u, v, [(x + r * float(np.cos(a)), y + r * float(np.sin(a))) for a in angles], width)


def union(*fields: Field) -> Field:
    return np.minimum.reduce(fields)


def intersection(*fields: Field) -> Field:
    return np.maximum.reduce(fields)


def cut(field: Field, hole: Field) -> Field:
    return np.maximum(field, -hole)


def coverage(field: Field, pixel: float) -> Field:
    """Antialiased coverage in [0, 1] of a distance field whose units have pixels of size `pixel`."""
    return np.clip(np.float32(0.5) - field / np.float32(pixel), 0, 1)
