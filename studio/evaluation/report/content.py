"""What a report holds, wherever it came from: entries with measures and cost, plain tables, sheets of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lora_loom.studio.evaluation.cells import Key
from lora_loom.studio.evaluation.cost import Cost
from lora_loom.studio.evaluation.measure_names import TITLES


@dataclass(frozen=True)
class Measure:
    """One number with its interval; `name` is the metric with its variant where several are usual."""

    name: str
    value: float
    ci_low: float | None = None
    ci_high: float | None = None
    n: int | None = None
    higher_is_better: bool | None = None

    @property
    def is_share(self) -> bool:
        return 0 <= self.value <= 1 and (self.ci_low is None or self.ci_low >= 0) and (self.ci_high or 0) <= 1

    @property
    def title(self) -> str:
        return TITLES.get(self.name, self.name.replace("_", " "))


@dataclass(frozen=True)
class Entry:
    """The pictures of one method in one setting. A control is what a method is read against, not a contestant."""

    keys: Mapping[str, Key]
    measures: tuple[Measure, ...]
    cost: Cost = field(default_factory=Cost)
    concepts: Mapping[str, float] = field(default_factory=dict)
    kind: str = "method"  # method, reference or control

    @property
    def method(self) -> str:
        return str(self.keys.get("method") or self.keys.get("control") or "pictures")

    @property
    def label(self) -> str:
        """All that tells it from the others, but for k."""
        parts = [self.method, *(f"{n} {v}" for n, v in self.keys.items() if n not in ("method", "k") and v is not None)]
        return ", ".join(parts)

    @property
    def k(self) -> int | None:
        k = self.keys.get("k")
        return k if isinstance(k, int) else None

    def measure(self, name: str) -> Measure | None:
        return next((each for each in self.measures if each.name == name), None)


@dataclass(frozen=True)
class Table:
    """A plain table; `rows` are texts."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: a data URL, what was asked for, and (what, whether it is there) for every concept."""

    url: str
    prompt: str
    marks: tuple[tuple[str, bool], ...] = ()
    caption: str = ""


@dataclass(frozen=True)
class Sheet:
    title: str
    tiles: tuple[Tile, ...]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The whole; `facts` stand at the top, `notes` are what has to be said about the numbers."""

    title: str
    entries: tuple[Entry, ...]
    facts: tuple[tuple[str, str], ...] = ()
    findings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    sheets: tuple[Sheet, ...] = ()
    notes: tuple[str, ...] = ()
    command: str = ""

    @property
    def contestants(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.kind != "control")

    @property
    def controls(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.kind == "control")

    @property
    def headline(self) -> str:
        """The measure that plots show: joint success if it was measured, else the first that most entries have."""
        names = [measure.name for entry in self.contestants or self.entries for measure in entry.measures]
        for wanted in ("joint_success_sealed", "joint_success"):
            if wanted in names:
                return wanted
        return max(dict.fromkeys(names), key=names.count, default="")

    def measure_names(self, entries: Sequence[Entry]) -> list[str]:
        """The measures of these entries, the headline first, those that few have last."""
        names = [measure.name for entry in entries for measure in entry.measures]
        order = sorted(dict.fromkeys(names), key=lambda name: (name != self.headline, -names.count(name)))
        return order
