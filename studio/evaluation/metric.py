"""Metric, the contract: update with batches, merge across workers, compute results; one file in metrics/ holds one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.features import ExtractorInfo, TextFeatures
from lora_loom.studio.evaluation.result import Interval, Result

Side = Literal["generated", "reference"]


@dataclass(frozen=True)
class Sample:
    """What is known about one picture beside its pixels; `name` is unique in its set, `row` is its metadata."""

    name: str
    prompt: str = ""
    seed: int | None = None
    row: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def cluster(self) -> str:
        """Equal for pictures that are not independent: those of one prompt."""
        return self.prompt or self.name

    @property
    def pair_key(self) -> str:
        """Equal for the pictures that two methods drew from the same prompt and seed."""
        return self.name if self.seed is None else f"{self.prompt}\n{self.seed}"


@dataclass(frozen=True)
class Batch:
    """n pictures: uint8 pixels [n h w 3], features [n d] and text features by template where a metric asks for them."""

    samples: Sequence[Sample]
    features: NDArray[np.float32] | None = None
    texts: Mapping[str, TextFeatures] = field(default_factory=lambda: MappingProxyType({}))
    pixels: NDArray[np.uint8] | None = None


class Metric(ABC):
    """A measure of a set of pictures: `update` with batches of either side, then `compute`.

    Instances that have seen different pictures, here or in processes that send them back pickled, `merge` in any order
    to what a single pass would have given. `compute` raises EvaluationError where the number would mean nothing; a
    number that is sound but has no interval is a result with None for it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]  # arXiv id, or what the measure is known from
    needs_reference: ClassVar[bool] = False
    needs_features: ClassVar[bool] = True
    needs_pixels: ClassVar[bool] = False
    needs_prompts: ClassVar[bool] = False
    needs_expected: ClassVar[bool] = False  # `expected` in the metadata: which concepts the picture has to show
    templates: ClassVar[tuple[str, ...]] = ()  # forms in which the prompt is embedded, `{}` is the prompt
    extractor_kinds: ClassVar[tuple[str, ...]] = ()  # whose features it is defined on, the usual one first; () is any

    def __init__(self, info: ExtractorInfo | None = None) -> None:
        self.info = info or ExtractorInfo()

    @abstractmethod
    def update(self, batch: Batch, side: Side = "generated") -> None:
        """Take in a batch of one side."""

    @abstractmethod
    def merge(self, other: Self) -> None:
        """Add what another instance has seen; its own pictures must be others."""

    @abstractmethod
    def compute(self) -> tuple[Result, ...]:
        """The results: one number, or several that belong together."""

    def check_same(self, other: Metric) -> None:
        """Raise EvaluationError unless both may be merged."""
        if type(self) is not type(other) or self.info != other.info:
            raise EvaluationError(
                "different measures cannot be merged",
                expected=f"{self.name} on {self.info.id or 'pixels'}, {self.info.resizer or 'not resized'}",
                found=f"{other.name} on {other.info.id or 'pixels'}, {other.info.resizer or 'not resized'}",
            )

    def result(self, value: float, interval: Interval | None, n: int, **parts: Any) -> Result:
        """A result of this metric on its extractor; without an interval one of the `warnings` says why."""
        parts = {"extractor": self.info.id, "resizer": self.info.resizer, **parts}
        warnings = tuple(parts.pop("warnings", ()))
        if interval is None and not any(warning.startswith("no interval") for warning in warnings):
            warnings += ("no interval: this measure gives none",)
        return Result(parts.pop("metric", self.name), value, interval, n, warnings=warnings, **parts)
