"""FID and FID_inf: the Frechet distance of two samples, and its limit for infinitely many pictures.

E[FID_n] = FID_inf + c / n with a c that depends on the model (Chong and Forsyth, arXiv:1911.07023, section 3), so FIDs
of equal n are not comparable either. FID is computed for unions of groups of both sides, drawn without replacement,
and a line through FID over 1/n gives its value at 1/n = 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lora_loom.studio.evaluation.moments import GroupedMoments, frechet_distance

SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the groups, one subset size each


def groups_for(dim: int) -> int:
    """How many groups moments are kept in: fewer where each holds a large matrix."""
    return 20 if dim <= 256 else 10


def draws_for(dim: int) -> int:
    """How many subsets of each size are averaged: fewer where each costs seconds."""
    return 8 if dim <= 256 else 4 if dim <= 1_024 else 1


def fid(generated: GroupedMoments, reference: GroupedMoments, groups: Iterable[int]) -> float:
    """FID of the pictures in these groups of both sides."""
    _, mu_g, sigma_g = generated.gaussian(groups)
    _, mu_r, sigma_r = reference.gaussian(groups)
    return frechet_distance(mu_g, sigma_g, mu_r, sigma_r)


def fid_infinity(generated: GroupedMoments, reference: GroupedMoments, groups: Sequence[int], draws: int) -> float:
    """FID at infinitely many pictures on both sides, from subsets of at least five sizes of these groups.

    Both sides are thinned by the same share, so the line also takes out the bias of the reference. May be negative.
    """
    inverse_share: list[float] = []
    distances: list[float] = []
    for share in SHARES:
        subsets = _windows(groups, max(2, round(share * len(groups))), draws)
        distances.append(float(np.mean([fid(generated, reference, subset) for subset in subsets])))
        inverse_share.append(len(groups) / len(subsets[0]))
    _, at_zero = np.polyfit(inverse_share, distances, 1)
    return float(at_zero)


def _windows(groups: Sequence[int], size: int, draws: int) -> list[list[int]]:
    """Up to `draws` subsets of `size` groups, runs on a circle, so that every group is used about equally often."""
    if size >= len(groups):
        return [list(groups)]
    starts = sorted({round(k * len(groups) / draws) for k in range(draws)})
    return [[groups[(start + i) % len(groups)] for i in range(size)] for start in starts]
