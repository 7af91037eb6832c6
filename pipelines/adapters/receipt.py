"""The receipt of a LoRA file: what it is, what fits the base, and what does not and why; nothing goes silently."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

NOTHING_LOST = "all zeros, so nothing is lost"
_KIND = re.compile(r"([a-z][a-z0-9_ ]{1,20}): ")  # a reason begins with the kind of update, where that is the reason


@dataclass(frozen=True)
class Ignored:
    """A module or key of the file that has no effect here, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class WrongShape:
    """A module that the base has, with another weight shape than the file is for."""

    path: str
    file_shape: tuple[int, ...]
    base_shape: tuple[int, ...]


@dataclass(frozen=True)
class ComponentReceipt:
    """One component of the pipeline. Ranges are (smallest, largest), None where nothing of the file has such a number.

    `matched` are the base's module paths, or without a base the file's own names of modules of supported kinds. `rank`
    is the trained rank, `factor_rank` that of the exact factors (larger for LoHa and LoKr); `scale` is alpha / rank as
    applied.
    """

    matched: tuple[str, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    wrong_shape: tuple[WrongShape, ...] = ()
    non_finite: tuple[str, ...] = ()
    kinds: Mapping[str, int] | None = None
    rank: tuple[int, int] | None = None
    factor_rank: tuple[int, int] | None = None
    alpha: tuple[float, float] | None = None
    scale: tuple[float, float] | None = None


@dataclass(frozen=True)
class Receipt:
    """What is known of a whole file.

    `base_family` is what it was made for, with the evidence; `target_family` is that of the base it was matched
    against, empty without one. `unknown_keys` belong to no module that the dialect knows.
    """

    file: str
    sha256: str
    dialect: str
    base_family: str
    base_family_why: str
    target_family: str
    components: Mapping[str, ComponentReceipt]
    unknown_keys: tuple[Ignored, ...] = ()

    @property
    def num_matched(self) -> int:
        return sum(len(component.matched) for component in self.components.values())

    @property
    def complete(self) -> bool:
        """Whether everything in the file has its effect."""
        parts = self.components.values()
        return not self.unknown_keys and not any(part.ignored or part.wrong_shape or part.non_finite for part in parts)

    @property
    def partial(self) -> bool:
        """Whether something in the file that is more than zeros has no effect."""
        parts = self.components.values()
        lost = any(not each.reason.endswith(NOTHING_LOST) for each in self._ignored)
        return lost or any(part.wrong_shape or part.non_finite for part in parts)

    @property
    def _ignored(self) -> list[Ignored]:
        return [*(each for part in self.components.values() for each in part.ignored), *self.unknown_keys]

    def summary(self) -> str:
        """One line for a person; kinds of update that have no effect are named."""
        counts = {name: len(part.matched) for name, part in self.components.items() if part.matched}
        found = [f"{count} module{'s' if count > 1 else ''} of {name}" for name, count in counts.items()]
        lost = {
            "ignored": len(self._ignored),
            "of another shape": sum(len(part.wrong_shape) for part in self.components.values()),
            "not finite": sum(len(part.non_finite) for part in self.components.values()),
        }
        kinds = Counter(kind[1] for each in self._ignored if (kind := _KIND.match(each.reason)))
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        losses = [
            f"{count} {what}{f' ({named})' if named and what == 'ignored' else ''}"
            for what, count in lost.items()
            if count
        ]
        return f"{self.dialect}, {self.base_family}: {', '.join([*found, *losses]) or 'nothing'}"

    def to_dict(self) -> dict[str, Any]:
        """The receipt as JSON values: lists for tuples, everything that was found or lost by name."""
        return {**_as_json(asdict(self)), "num_matched": self.num_matched, "complete": self.complete}


def _as_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_json(entry) for key, entry in cast("dict[str, Any]", value).items()}
    if isinstance(value, tuple | list):
        return [_as_json(entry) for entry in cast("Sequence[Any]", value)]
    return value
