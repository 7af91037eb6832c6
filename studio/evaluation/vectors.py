"""Directions of features: rows at unit length, and cosines of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def unit(rows: ArrayLike) -> NDArray[np.float64]:
    """Rows [n d] at length 1; a row of zeros stays one."""
    x = np.asarray(rows, dtype=np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)


def row_cosines(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """[n]: the cosine of each row of a [n d] with the same row of b [n d]."""
    return (unit(a) * unit(b)).sum(1)
