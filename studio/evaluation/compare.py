"""Compare two sets of pictures: in pairs of prompt and seed where pictures have values, else by groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.resampling import cluster_bootstrap, jackknife, mcnemar, paired_share_interval
from lora_loom.studio.evaluation.result import PerPicture, Result

FEW_GROUPS = "no interval: too few groups of prompts"


@dataclass(frozen=True)
class Comparison:
    """B minus A on what both share: `n` pairs, or all pictures for measures of a whole set.

    `significant` means that the 95 % interval of the difference leaves out 0. `p_value` is McNemar's exact one, None
    where the outcomes are not yes or no.
    """

    metric: str
    variant: str
    a: float
    b: float
    difference: float
    ci_low: float | None
    ci_high: float | None
    n: int
    paired: bool
    p_value: float | None
    warnings: tuple[str, ...] = ()

    @property
    def significant(self) -> bool:
        return self.ci_low is not None and self.ci_high is not None and not self.ci_low <= 0 <= self.ci_high

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "metric": self.metric,
            "variant": self.variant,
            "a": self.a,
            "b": self.b,
            "difference": self.difference,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "significant": self.significant,
            "p_value": self.p_value,
            "n": self.n,
            "paired": self.paired,
            "warnings": list(self.warnings),
        }


def compare(a: Result, b: Result) -> Comparison:
    """The difference of two results of one measure; raises EvaluationError if they are none or share nothing."""
    if a.comparable != b.comparable:
        raise EvaluationError(
            "these results do not measure the same thing", expected=str(a.comparable), found=str(b.comparable)
        )
    if a.per_picture is not None and b.per_picture is not None:
        return _paired(a, b, a.per_picture, b.per_picture)
    return _by_groups(a, b, a.replicates or {}, b.replicates or {})


def compare_all(a: Sequence[Result], b: Sequence[Result]) -> list[Comparison]:
    """The differences of all measures that both have; raises EvaluationError if there is none.

    Shares of a set that are no means over its own pictures, such as recall, have no partner to be compared with. A
    measure without an interval has a difference without one.
    """
    place = {(other.metric, other.family): other for other in b}
    found = [
        compare(one, place[one.metric, one.family])
        for one in a
        if (one.metric, one.family) in place
        and (one.per_picture is not None or one.replicates is not None or one.interval is None)
    ]
    if not found:
        raise EvaluationError("the two sets share no measure that can be compared", remedy="Name one with --metrics")
    return found


def _paired(a: Result, b: Result, of_a: PerPicture, of_b: PerPicture) -> Comparison:
    """Differences of pairs, prompts drawn with replacement; for yes and no also McNemar's test."""
    at_a, at_b = _by_key(of_a), _by_key(of_b)
    shared = [key for key in at_a if key in at_b]
    if not shared:
        raise EvaluationError(
            f"no picture of one set belongs to one of the other, so {a.metric} cannot be compared",
            expected="the same prompts and seeds, or the same file names",
            found=f"{len(at_a)} and {len(at_b)} pictures, such as {next(iter(at_a))!r} and {next(iter(at_b))!r}",
        )
    x = np.array([of_a.values[at_a[key]] for key in shared])
    y = np.array([of_b.values[at_b[key]] for key in shared])
    clusters = [of_a.clusters[at_a[key]] for key in shared]
    interval = cluster_bootstrap(y - x, clusters)
    binary = bool(np.isin(np.concatenate((x, y)), (0, 1)).all())
    p_value = None
    if binary:
        only_a, only_b = int((x > y).sum()), int((y > x).sum())
        p_value = mcnemar(only_a, only_b)
        low, high = paired_share_interval(only_a, only_b, len(shared))  # the bootstrap can have no width at all
        interval = (low, high) if interval is None else (min(low, interval[0]), max(high, interval[1]))
    warnings = [] if interval else ["no interval: all pairs have one prompt"]
    if alone := len(at_a) + len(at_b) - 2 * len(shared):
        warnings.append(f"{alone} pictures have no partner and no say")
    if binary and len(set(clusters)) < len(clusters):
        warnings.append("McNemar's test takes the pairs of one prompt as independent; the interval does not")
    return Comparison(
        metric=a.metric,
        variant=a.variant,
        a=float(x.mean()),
        b=float(y.mean()),
        difference=float((y - x).mean()),
        ci_low=None if interval is None else interval[0],
        ci_high=None if interval is None else interval[1],
        n=len(shared),
        paired=True,
        p_value=p_value,
        warnings=tuple(warnings),
    )


def _by_groups(a: Result, b: Result, of_a: Mapping[int, float], of_b: Mapping[int, float]) -> Comparison:
    """The jackknife of the difference, the same group of prompts left out of both sets at a time."""
    replicates = {group: of_b[group] - of_a[group] for group in of_a if group in of_b}
    difference = b.value - a.value
    interval = jackknife(difference, replicates)
    return Comparison(
        metric=a.metric,
        variant=a.variant if a.variant == b.variant else f"{a.variant} and {b.variant}",
        a=a.value,
        b=b.value,
        difference=difference,
        ci_low=None if interval is None else interval[0],
        ci_high=None if interval is None else interval[1],
        n=min(a.n, b.n),
        paired=False,
        p_value=None,
        warnings=() if interval else tuple(dict.fromkeys((*a.warnings, *b.warnings, FEW_GROUPS))),
    )


def _by_key(held: PerPicture) -> dict[str, int]:
    """Index by key; raises EvaluationError where a key stands for several pictures."""
    found = {key: index for index, key in enumerate(held.keys)}
    if len(found) < len(held.keys):
        twice = next(key for index, key in enumerate(held.keys) if found[key] != index)
        raise EvaluationError(
            "a prompt and seed occur twice in one set",
            found=twice.replace("\n", ", seed "),
            remedy="Compare one method with another: choose a part of it, such as --a method=merge",
        )
    return found
