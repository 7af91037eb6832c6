"""Intervals that are honest about prompts: cluster bootstrap, delete-group jackknife, paired tests.

Pictures of one prompt resemble each other, so prompts are drawn, never single pictures. Distances between
distributions are biased by duplicates, so for them nothing is drawn with replacement: groups are left out in turn.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lora_loom.studio.evaluation.result import Interval
from lora_loom.studio.results import wilson

RESAMPLES = 2_000
SEED = 20_251_127  # of the resampling: the same values always give the same interval
LEVEL = 0.95
FEWEST_GROUPS = 5  # left-out groups below which no interval is given


def cluster_bootstrap(
    values: ArrayLike, clusters: Sequence[str], *, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval | None:
    """Interval of the mean of `values` [n], whole clusters drawn with replacement; None for fewer than two clusters.

    The percentiles are widened for few clusters, as a t interval is against a normal one (Hesterberg, 2015, "What
    teachers should know about the bootstrap", section 5.3).
    """
    sums, counts = _by_cluster(np.asarray(values, dtype=np.float64), clusters)
    c = len(sums)
    if c < 2:
        return None
    tail = stats.norm.cdf(math.sqrt(c / (c - 1)) * stats.t.ppf((1 - level) / 2, c - 1))
    rng = np.random.default_rng(SEED)
    means: list[NDArray[np.float64]] = []
    for start in range(0, resamples, 250):  # in parts, so that many clusters need little memory
        weights = rng.multinomial(c, np.full(c, 1 / c), size=min(250, resamples - start))  # [b c]
        means.append((weights @ sums) / (weights @ counts))
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def proportion_interval(outcomes: ArrayLike, clusters: Sequence[str]) -> Interval:
    """Interval of a share of successes: the cluster bootstrap's, never narrower than Wilson's.

    Where all outcomes are equal, resampling gives no width at all; Wilson's interval still does.
    """
    outcomes = np.asarray(outcomes, dtype=np.float64)
    low, high = wilson(round(float(outcomes.sum())), len(outcomes))
    drawn = cluster_bootstrap(outcomes, clusters) if len(outcomes) else None
    return (low, high) if drawn is None else (min(low, drawn[0]), max(high, drawn[1]))


def paired_share_interval(only_a: int, only_b: int, n: int) -> Interval:
    """Interval of the difference B - A of two shares over `n` independent pairs (Agresti and Min, 2005, section 3).

    Half a pair is added to each of the four outcomes, so that it has a width even where no pair differs.
    """
    a, b, pairs = only_a + 0.5, only_b + 0.5, n + 2
    difference = (b - a) / pairs
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) * math.sqrt((a + b) - (b - a) ** 2 / pairs) / pairs
    return max(-1.0, difference - reach), min(1.0, difference + reach)


def group_of(cluster: str, groups: int) -> int:
    """The group, out of `groups`, that a cluster belongs to on every machine: by its hash."""
    return int.from_bytes(hashlib.sha256(cluster.encode()).digest()[:8], "big") % groups


def jackknife(value: float, replicates: Mapping[int, float], *, level: float = LEVEL) -> Interval | None:
    """Interval around `value` from the values without each group in turn; None for too few groups.

    se^2 = (G-1)/G sum_g (theta_g - mean)^2, with Student's quantile of G-1 degrees of freedom.
    """
    se = jackknife_error(replicates)
    if se is None:
        return None
    reach = float(stats.t.ppf((1 + level) / 2, len(replicates) - 1)) * se
    return value - reach, value + reach


def jackknife_error(replicates: Mapping[int, float]) -> float | None:
    """The standard error by the delete-group jackknife; None for too few groups."""
    theta = np.fromiter(replicates.values(), dtype=np.float64)
    if len(theta) < FEWEST_GROUPS:
        return None
    return math.sqrt((len(theta) - 1) / len(theta) * float(((theta - theta.mean()) ** 2).sum()))


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p-value of McNemar's test, from the pairs in which only A or only B succeeded."""
    discordant = only_a + only_b
    return 1.0 if discordant == 0 else float(stats.binomtest(min(only_a, only_b), discordant, 0.5).pvalue)


def _by_cluster(values: NDArray[np.float64], clusters: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sum and number of the values of each cluster."""
    if len(values) != len(clusters):
        raise ValueError(f"{len(values)} values with {len(clusters)} clusters")
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    counts = np.bincount(index).astype(np.int64)
    return np.asarray(np.bincount(index, weights=values), dtype=np.float64), counts
