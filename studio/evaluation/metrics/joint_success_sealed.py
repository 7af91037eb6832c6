"""Joint success by the sealed judge, which nothing was ever tuned against: the number for published tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.metrics.joint_success import JointSuccess


class SealedJointSuccess(JointSuccess):
    """The same by the sealed judge: another architecture, seed and renderer."""

    name = "joint_success_sealed"
    title = "Joint success, sealed judge"
    judge = "sealed judge"

    def look(self, pixels: NDArray[np.uint8]) -> Sequence[Mapping[str, str]]:
        from lora_loom.studio.pocket.judge import sealed_judge

        try:
            judge = sealed_judge()
        except FileNotFoundError as error:
            raise EvaluationError(f"{self.name} is unavailable because this Loom ships no sealed judge") from error
        return judge.verdicts(pixels)
