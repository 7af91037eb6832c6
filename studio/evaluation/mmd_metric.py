"""What KID and CMMD share: a squared MMD over all pairs of pictures, with the jackknife over groups of prompts."""

from __future__ import annotations

from typing import Any

from lora_loom.studio.evaluation.feature_metric import FeatureMetric
from lora_loom.studio.evaluation.kernels import Array, Kernel, PairSums, pair_sums
from lora_loom.studio.evaluation.resampling import FEWEST_GROUPS, jackknife
from lora_loom.studio.evaluation.result import Result

SCALE = 1_000  # the usual unit of both


class MmdMetric(FeatureMetric):
    """All pairs instead of random subsets: the same expectation, no random choice, less variance."""

    needs_reference = True

    def sums(self, kernel: Kernel) -> PairSums:
        """The kernel sums of both sides; raises EvaluationError for fewer than two pictures on one."""
        self.require("generated", 2)
        self.require("reference", 2)
        x, y = (self.prepared(self.features(side)) for side in ("generated", "reference"))
        return pair_sums(x, self.group_index("generated"), y, self.group_index("reference"), self.groups, kernel)

    def prepared(self, features: Array) -> Array:
        """The features as the kernel wants them."""
        return features

    def mmd_result(self, sums: PairSums, *, biased: bool = False, note: str = "", **parts: Any) -> Result:
        """The result of an estimate, x1000, not clamped at 0."""
        n, m = int(sums.n.sum()), int(sums.m.sum())
        value = SCALE * sums.squared_mmd(biased=biased)
        groups = [g for g in range(self.groups) if sums.n[g] or sums.m[g]]
        replicates: dict[int, float] = {}
        for g in groups:
            rest = [h for h in groups if h != g]
            if min(sums.n[rest].sum(), sums.m[rest].sum()) >= 2:
                replicates[g] = SCALE * sums.squared_mmd(rest, biased=biased)
        interval = jackknife(value, replicates)
        few = "" if interval else f"no interval: fewer than {FEWEST_GROUPS} groups of prompts"
        return self.result(
            value,
            interval,
            n,
            n_reference=m,
            higher_is_better=False,
            replicates=replicates,
            warnings=tuple(warning for warning in (note, few) if warning),
            **parts,
        )
