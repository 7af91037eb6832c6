"""KID: the squared MMD of a cubic kernel, unbiased at any number of pictures."""

from __future__ import annotations

from lora_loom.studio.evaluation.kernels import cubic
from lora_loom.studio.evaluation.mmd_metric import MmdMetric
from lora_loom.studio.evaluation.result import Result


class KernelDistance(MmdMetric):
    """1000 x the U-statistic of MMD^2 with (x.y/d + 1)^3. It can be negative: 0 is expected for equal distributions."""

    name = "kid"
    title = "KID x1000"
    source = "arXiv:1801.01401"

    def compute(self) -> tuple[Result, ...]:
        return (self.mmd_result(self.sums(cubic), variant="U-statistic, all pairs, x1000"),)
