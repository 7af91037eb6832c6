"""FID and its limit for infinitely many pictures, from statistics that add across workers."""

from __future__ import annotations

from typing import Self

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.features import ExtractorInfo
from lora_loom.studio.evaluation.frechet import draws_for, fid, fid_infinity, groups_for
from lora_loom.studio.evaluation.metric import Batch, Metric, Side
from lora_loom.studio.evaluation.moments import GroupedMoments
from lora_loom.studio.evaluation.resampling import FEWEST_GROUPS, group_of, jackknife
from lora_loom.studio.evaluation.result import Result

ADVISED = 10  # pictures per feature dimension; with fewer, the bias is of the size of the differences of interest


class FrechetDistance(Metric):
    """Frechet distance of Gaussians fitted to the features of both sides (arXiv:1706.08500).

    `fid` is the usual number and only comparable at equal n; its interval is about what that n gives. `fid_inf` is
    comparable. Refused for n < d, where a covariance is singular; with a warning below 10 d.
    """

    name = "fid"
    title = "FID and FID_inf"
    source = "arXiv:1706.08500, arXiv:1911.07023"
    needs_reference = True

    def __init__(self, info: ExtractorInfo | None = None) -> None:
        super().__init__(info)
        groups = groups_for(self.info.dim)
        self._moments: dict[Side, GroupedMoments] = {
            "generated": GroupedMoments(groups, self.info.dim),
            "reference": GroupedMoments(groups, self.info.dim),
        }

    def update(self, batch: Batch, side: Side = "generated") -> None:
        if batch.features is None:
            raise ValueError("fid needs features")
        moments = self._moments[side]
        moments.add(batch.features, [group_of(sample.cluster, moments.groups) for sample in batch.samples])

    def merge(self, other: Self) -> None:
        self.check_same(other)
        for side, moments in self._moments.items():
            moments.merge(other._moments[side])

    def compute(self) -> tuple[Result, ...]:
        generated, reference = self._moments["generated"], self._moments["reference"]
        d, n, m = self.info.dim, generated.total, reference.total
        if min(n, m) < d or min(n, m) < 2:
            raise EvaluationError(
                f"fid needs at least as many pictures as features, {max(d, 2)}: fewer have no covariance",
                found=f"{n} generated and {m} reference pictures",
                remedy="Make more pictures, or take kid or cmmd, which have no such bias",
            )
        warnings: list[str] = []
        if min(n, m) < ADVISED * d:
            warnings.append(f"fewer than {ADVISED} x {d} pictures: biased upwards, compare fid_inf or kid")
        groups = [g for g in range(generated.groups) if generated.n[g] and reference.n[g]]
        value = fid(generated, reference, range(generated.groups))
        parts = {"higher_is_better": False, "n_reference": m}
        if len(groups) < FEWEST_GROUPS or min(n, m) < 2 * d:
            few = f"no interval and no fid_inf: fewer than {2 * d} pictures or {FEWEST_GROUPS} groups of prompts"
            return (self.result(value, None, n, variant=f"n = {n}", warnings=(*warnings, few), **parts),)
        draws = draws_for(d)
        without = {g: [h for h in groups if h != g] for g in groups}
        at_n = {g: fid(generated, reference, rest) for g, rest in without.items()}
        at_infinity = {g: fid_infinity(generated, reference, rest, draws) for g, rest in without.items()}
        limit = fid_infinity(generated, reference, groups, draws)
        return (
            self.result(
                value,
                jackknife(value, at_n),
                n,
                variant=f"n = {n}",
                warnings=tuple(warnings),
                replicates=at_n,
                **parts,
            ),
            self.result(
                limit,
                jackknife(limit, at_infinity),
                n,
                metric="fid_inf",
                variant="both sides thinned",
                replicates=at_infinity,
                **parts,
            ),
        )
