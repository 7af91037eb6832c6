"""A layer of a base, and a place in the base where an update of the file goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ModuleShape:
    """A layer and the shape of its weight: [out in] of a linear one, [out in kh kw] of a convolution."""

    kind: Literal["linear", "conv"]
    weight: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """Where an update goes: a module of the base, and for a file that fuses modules which rows of the fused update.

    `rows` are half-open ranges in the order in which the base's module stacks them, empty for the whole; `fused_rows`
    is then the number of rows that the file's update must have.
    """

    path: str
    rows: tuple[tuple[int, int], ...] = ()
    fused_rows: int = 0
