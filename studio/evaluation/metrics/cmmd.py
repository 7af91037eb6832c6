"""CMMD: the squared MMD of a Gaussian kernel on unit CLIP features, unbiased and as its authors' code computes it."""

from __future__ import annotations

from lora_loom.studio.evaluation.kernels import Array, gaussian
from lora_loom.studio.evaluation.mmd_metric import MmdMetric
from lora_loom.studio.evaluation.result import Result
from lora_loom.studio.evaluation.vectors import unit

BLIND = "about 10 x the squared distance of the mean features: blind to a lost spread, read it beside recall"


class ClipMmd(MmdMetric):
    """1000 x MMD^2 with sigma = 10 on features of unit norm.

    At that sigma the kernel of unit vectors is almost linear, 1 - |x - y|^2 / 200, hence CMMD is about
    10 |mean x - mean y|^2. The released code uses the V-statistic, which is larger by about 10 tr(S)(1/n + 1/m).
    """

    name = "cmmd"
    title = "CMMD"
    source = "arXiv:2401.09603"
    extractor_kinds = ("clip", "open_clip", "pocket")

    def prepared(self, features: Array) -> Array:
        return unit(features)

    def compute(self) -> tuple[Result, ...]:
        sums = self.sums(gaussian)
        unbiased = self.mmd_result(sums, variant="U-statistic", note=BLIND, details={"mean_difference": self._linear()})
        biased = self.mmd_result(
            sums, biased=True, metric="cmmd_biased", variant="V-statistic, as the released code", note=BLIND
        )
        return unbiased, biased

    def _linear(self) -> float:
        """10 |mean x - mean y|^2, without the part that the samples' own spread adds."""
        parts = [self.prepared(self.features(side)) for side in ("generated", "reference")]
        spread = sum(float(part.var(0, ddof=1).sum()) / len(part) for part in parts)
        return 10 * (float(((parts[0].mean(0) - parts[1].mean(0)) ** 2).sum()) - spread)
