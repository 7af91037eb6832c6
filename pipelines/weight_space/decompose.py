"""Thin decompositions of small matrices, with the types that torch leaves out."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

_linalg = cast("Any", torch.linalg)


def thin_qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Q [p k] of orthonormal columns and R [k q] with Q R = matrix [p q], k = min(p, q)."""
    q, r = _linalg.qr(matrix)
    return q, r


def thin_svd(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X [p k], S [k] falling, Y [q k] with X S Y^T = matrix [p q], k = min(p, q)."""
    x, s, y = _linalg.svd(matrix, full_matrices=False)
    return x, s, y.T


def singular_values(matrix: Tensor) -> Tensor:
    """S [min(p, q)], falling."""
    return _linalg.svdvals(matrix)


def frobenius(matrix: Tensor) -> float:
    """The root of the sum of squares."""
    return float(matrix.square().sum().sqrt())
