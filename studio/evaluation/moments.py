"""Means and covariances of features, kept per group so that they add across workers and groups can be left out."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class GroupedMoments:
    """For each of G groups the sufficient statistics of a Gaussian: n, sum of x, sum of x x^T, in float64."""

    def __init__(self, groups: int, dim: int) -> None:
        self.n = np.zeros(groups, dtype=np.int64)
        self.sum = np.zeros((groups, dim))
        self.outer = np.zeros((groups, dim, dim))

    @property
    def groups(self) -> int:
        return len(self.n)

    @property
    def total(self) -> int:
        return int(self.n.sum())

    def add(self, features: ArrayLike, group: ArrayLike) -> None:
        """Add features [n d] that belong to the groups [n]."""
        x, index = np.asarray(features, dtype=np.float64), np.asarray(group)
        for g in np.unique(index):
            own = x[index == g]
            self.n[g] += len(own)
            self.sum[g] += own.sum(0)
            self.outer[g] += own.T @ own

    def merge(self, other: GroupedMoments) -> None:
        """Add what another worker has seen."""
        self.n += other.n
        self.sum += other.sum
        self.outer += other.outer

    def gaussian(self, groups: Iterable[int] | None = None) -> tuple[int, Array, Array]:
        """n, mean [d] and unbiased covariance [d d] of the union of `groups`, of all if None."""
        chosen = list(range(self.groups) if groups is None else groups)
        n = int(self.n[chosen].sum())
        mean = self.sum[chosen].sum(0) / n
        covariance = (self.outer[chosen].sum(0) - n * np.outer(mean, mean)) / (n - 1)
        return n, mean, covariance


def frechet_distance(mu1: Array, sigma1: Array, mu2: Array, sigma2: Array) -> float:
    """|mu1 - mu2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of two Gaussians (Heusel et al., arXiv:1706.08500, eq. 6).

    The trace of the root is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric: no
    complex numbers, and many times quicker than the eigenvalues of S1 S2.
    """
    values, vectors = np.linalg.eigh(sigma1)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.linalg.eigvalsh(root @ sigma2 @ root).clip(0)
    difference = mu1 - mu2
    return float(difference @ difference + np.trace(sigma1) + np.trace(sigma2) - 2 * np.sqrt(cross).sum())
