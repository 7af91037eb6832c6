"""Result: one measured number with its interval, and all that must be known to compare it with another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Interval = tuple[float, float]  # the ends of a 95 % interval, the lower one first


@dataclass(frozen=True)
class PerPicture:
    """The value of every picture: `keys` are equal for pictures to be paired, `clusters` for those of one prompt."""

    keys: tuple[str, ...]
    clusters: tuple[str, ...]
    values: NDArray[np.float64]  # [n]


@dataclass(frozen=True)
class Result:
    """A number measured on `n` pictures.

    `interval` is None where none can be given; a warning says why (`Metric.result` adds one where it is missing).
    `variant` tells definitions of one name apart, `extractor` is its id with the hash of its weights, `resizer` names
    how pictures were scaled for it; both are empty where pixels were judged as they are. Two results are comparable
    only if metric, variant, extractor and resizer are equal (but for an n in the variant).

    For comparisons, not part of the JSON: `per_picture` holds the values whose mean this is, `replicates` the value
    without each group of prompts in turn.
    """

    metric: str
    value: float
    interval: Interval | None
    n: int
    variant: str = ""
    extractor: str = ""
    resizer: str = ""
    higher_is_better: bool | None = None
    n_reference: int | None = None
    warnings: tuple[str, ...] = ()
    details: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    per_picture: PerPicture | None = field(default=None, repr=False, compare=False)
    replicates: Mapping[int, float] | None = field(default=None, repr=False, compare=False)

    @property
    def ci_low(self) -> float | None:
        return self.interval[0] if self.interval else None

    @property
    def ci_high(self) -> float | None:
        return self.interval[1] if self.interval else None

    @property
    def family(self) -> str:
        """The variant without the number of pictures, which may differ between what is compared."""
        return re.sub(r",? ?n = \d+", "", self.variant)

    @property
    def comparable(self) -> tuple[str, str, str, str]:
        """Equal for results that measure the same thing in the same way."""
        return self.metric, self.family, self.extractor, self.resizer

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "metric": self.metric,
            "value": self.value,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "n": self.n,
            "n_reference": self.n_reference,
            "variant": self.variant,
            "extractor": self.extractor,
            "resizer": self.resizer,
            "higher_is_better": self.higher_is_better,
            "warnings": list(self.warnings),
            "details": dict(self.details),
        }
