"""Joint success: the share of pictures that show every concept they have to show, by the pocket judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.features import ExtractorInfo
from lora_loom.studio.evaluation.metadata import expected_of
from lora_loom.studio.evaluation.metric import Batch
from lora_loom.studio.evaluation.picture_metric import PictureMetric
from lora_loom.studio.evaluation.resampling import proportion_interval
from lora_loom.studio.evaluation.result import PerPicture, Result


class Verdict(NamedTuple):
    """What one picture had to show of one factor, and what the judge saw (`other` if nothing it knows)."""

    name: str
    factor: str
    expected: str
    found: str

    @property
    def holds(self) -> bool:
        return self.expected == self.found


class JointSuccess(PictureMetric):
    """AND over the concepts of each picture's `expected`; an abstention of the judge is a failure.

    `concept_success` is the share of single concepts, with the rate of each concept in its details.
    """

    name = "joint_success"
    title = "Joint success"
    source = "Loom: all concepts of all LoRAs present, in a world with known truth"
    judge = "development judge"
    needs_features = False
    needs_pixels = True
    needs_expected = True

    def __init__(self, info: ExtractorInfo | None = None) -> None:
        super().__init__(info)
        self.verdicts: list[Verdict] = []

    def look(self, pixels: NDArray[np.uint8]) -> Sequence[Mapping[str, str]]:
        """What the judge sees in pictures [n h w 3]: the value of every factor."""
        from lora_loom.studio.pocket.judge import shipped_judge

        return shipped_judge().verdicts(pixels)

    def values(self, batch: Batch) -> NDArray[np.float64]:
        if batch.pixels is None:
            raise ValueError(f"{self.name} needs pixels")
        joint: list[float] = []
        for sample, seen in zip(batch.samples, self.look(batch.pixels), strict=True):
            expected = expected_of(sample)
            if not expected:
                raise EvaluationError(
                    f"{sample.name} does not say which concepts it has to show", expected='"expected"'
                )
            if unknown := sorted(expected.keys() - seen.keys()):
                raise EvaluationError(
                    f"{sample.name} expects what the judge does not look at",
                    expected=f"some of {', '.join(seen)}",
                    found=", ".join(unknown),
                )
            held = [Verdict(sample.name, factor, value, seen[factor]) for factor, value in expected.items()]
            self.verdicts += held
            joint.append(float(all(verdict.holds for verdict in held)))
        return np.array(joint)[:, None]

    def verdicts_of(self, name: str) -> list[Verdict]:
        """The verdicts on one picture, in the order of what is expected."""
        return [verdict for verdict in self.verdicts if verdict.name == name]

    def merge(self, other: Self) -> None:
        super().merge(other)
        self.verdicts += other.verdicts

    def compute(self) -> tuple[Result, ...]:
        held = self.column()
        return (
            self.result(
                float(held.values.mean()),
                proportion_interval(held.values, held.clusters),
                len(held.values),
                variant=self.judge,
                higher_is_better=True,
                per_picture=held,
            ),
            self._concepts(held),
        )

    def _concepts(self, held: PerPicture) -> Result:
        cluster_of = dict(zip(self._names, self._clusters, strict=True))
        outcomes = np.array([verdict.holds for verdict in self.verdicts], dtype=np.float64)
        by_concept: dict[str, list[bool]] = {}
        for verdict in self.verdicts:
            by_concept.setdefault(verdict.expected, []).append(verdict.holds)
        return self.result(
            float(outcomes.mean()),
            proportion_interval(outcomes, [cluster_of[verdict.name] for verdict in self.verdicts]),
            len(held.values),
            metric=self.name.replace("joint", "concept"),
            variant=self.judge,
            higher_is_better=True,
            details={concept: sum(found) / len(found) for concept, found in sorted(by_concept.items())},
        )
