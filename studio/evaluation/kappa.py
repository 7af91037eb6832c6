"""How far two readers of the same pictures agree, and how far a judge's confidence can be believed."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def agreement(a: Sequence[str], b: Sequence[str]) -> float:
    """Share of equal verdicts."""
    _same_length(a, b)
    return float(np.mean([x == y for x, y in zip(a, b, strict=True)]))


def cohens_kappa(a: Sequence[str], b: Sequence[str]) -> float:
    """Agreement beyond chance, (p_o - p_e) / (1 - p_e) (Cohen 1960); 1 when both always say the same one thing."""
    _same_length(a, b)
    values, codes = np.unique(np.concatenate((np.asarray(a), np.asarray(b))), return_inverse=True)
    left, right = (np.bincount(side, minlength=len(values)) / len(a) for side in np.split(codes, 2))
    by_chance = float(left @ right)
    return 1.0 if by_chance == 1 else (agreement(a, b) - by_chance) / (1 - by_chance)


def expected_calibration_error(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over equal bins of confidence (arXiv 1706.04599, section 2)."""
    _same_length(confidence, right)
    edges = np.linspace(0, 1, bins + 1)
    total = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            total += inside.mean() * abs(float(confidence[inside].mean()) - float(right[inside].mean()))
    return total


def _same_length(a: Sequence[object] | NDArray[np.generic], b: Sequence[object] | NDArray[np.generic]) -> None:
    if len(a) != len(b) or not len(a):
        raise ValueError(f"two readings of the same pictures expected; got {len(a)} and {len(b)}")
