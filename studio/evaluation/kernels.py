"""Sums of a kernel over pairs of pictures, by groups, so that every MMD estimate and jackknife is a sum of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kernel = Callable[[Array, Array], Array]  # [n d], [m d] -> [n m]
ROWS = 2_048  # of a kernel matrix held at once


def cubic(x: Array, y: Array) -> Array:
    """(x.y / d + 1)^3, the kernel of KID (Binkowski et al., arXiv:1801.01401, section 4)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def gaussian(x: Array, y: Array, sigma: float = 10.0) -> Array:
    """exp(-|x - y|^2 / (2 sigma^2)), the kernel of CMMD (Jayasumana et al., arXiv:2401.09603, section 4)."""
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.exp(-squared.clip(0) / (2 * sigma**2))


@dataclass(frozen=True)
class PairSums:
    """Kernel sums between groups: xx, yy and xy are [G G]; the pairs of a picture with itself are kept apart, [G]."""

    n: NDArray[np.int64]  # [G]
    m: NDArray[np.int64]  # [G]
    xx: Array
    yy: Array
    xy: Array
    x_self: Array
    y_self: Array

    def squared_mmd(self, groups: Iterable[int] | None = None, *, biased: bool = False) -> float:
        """MMD^2 of the union of groups (all if None): the unbiased U-statistic, or the biased V-statistic."""
        g = np.arange(len(self.n)) if groups is None else np.asarray(list(groups))
        n, m = int(self.n[g].sum()), int(self.m[g].sum())
        xx, yy = self.xx[np.ix_(g, g)].sum(), self.yy[np.ix_(g, g)].sum()
        cross = 2 * self.xy[np.ix_(g, g)].sum() / (n * m)
        if biased:
            return float((xx + self.x_self[g].sum()) / n**2 + (yy + self.y_self[g].sum()) / m**2 - cross)
        return float(xx / (n * (n - 1)) + yy / (m * (m - 1)) - cross)


def pair_sums(
    x: Array, x_groups: NDArray[np.int64], y: Array, y_groups: NDArray[np.int64], groups: int, kernel: Kernel
) -> PairSums:
    """The kernel sums of features x [n d] and y [m d], with the group of each."""
    x_self, y_self = _diagonal(x, x_groups, groups, kernel), _diagonal(y, y_groups, groups, kernel)
    return PairSums(
        n=np.bincount(x_groups, minlength=groups),
        m=np.bincount(y_groups, minlength=groups),
        xx=_sums(x, x_groups, x, x_groups, groups, kernel) - np.diag(x_self),
        yy=_sums(y, y_groups, y, y_groups, groups, kernel) - np.diag(y_self),
        xy=_sums(x, x_groups, y, y_groups, groups, kernel),
        x_self=x_self,
        y_self=y_self,
    )


def _sums(
    x: Array, x_groups: NDArray[np.int64], y: Array, y_groups: NDArray[np.int64], groups: int, kernel: Kernel
) -> Array:
    """[G G]: the sum of the kernel over all pairs of group g of x and group h of y."""
    sums = np.zeros((groups, groups))
    members = np.eye(groups)[y_groups]  # [m G]
    for start in range(0, len(x), ROWS):
        rows = slice(start, start + ROWS)
        np.add.at(sums, x_groups[rows], kernel(x[rows], y) @ members)
    return sums


def _diagonal(x: Array, x_groups: NDArray[np.int64], groups: int, kernel: Kernel) -> Array:
    own = np.array([kernel(row[None], row[None])[0, 0] for row in x])
    return np.asarray(np.bincount(x_groups, weights=own, minlength=groups), dtype=np.float64)
