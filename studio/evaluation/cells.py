"""Cells: the pictures of a set that belong together, such as those of one method and number of LoRAs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.picture_set import Picture, PictureSet

FOUND_BY = ("method", "settings", "k", "control")  # metadata that makes cells wherever it differs between pictures
Key = str | int | float | bool | None


@dataclass(frozen=True)
class Cell:
    """Names and values of the metadata that its pictures share."""

    items: tuple[tuple[str, Key], ...] = ()

    @property
    def keys(self) -> dict[str, Key]:
        return dict(self.items)

    @property
    def label(self) -> str:
        said = [f"{name} {value}" for name, value in self.items if value is not None]
        return ", ".join(said) or ("the rest" if self.items else "all pictures")


def cells_of(pictures: PictureSet, by: Sequence[str] | None = None) -> dict[Cell, PictureSet]:
    """The cells in the order of their values; raises EvaluationError for a name in `by` that no picture has."""
    chosen = _differing(pictures) if by is None else list(by)
    for name in chosen:
        if not any(name in picture.sample.row for picture in pictures.pictures):
            raise EvaluationError(
                f"no picture has {name!r} in its metadata",
                expected=f"some of {', '.join(sorted({key for p in pictures.pictures for key in p.sample.row}))}",
            )
    members: defaultdict[Cell, list[Picture]] = defaultdict(list)
    for picture in pictures.pictures:
        row = picture.sample.row
        members[Cell(tuple((name, plain(row.get(name))) for name in chosen))].append(picture)
    ordered = sorted(members, key=lambda cell: [_order(value) for _, value in cell.items])
    return {cell: PictureSet(pictures.path, tuple(members[cell]), pictures.remarks) for cell in ordered}


def _differing(pictures: PictureSet) -> list[str]:
    """The names of FOUND_BY that tell pictures apart; settings only if one method is there with several of them."""
    rows = [picture.sample.row for picture in pictures.pictures]
    found = [name for name in FOUND_BY if len({plain(row.get(name)) for row in rows}) > 1]
    ways = {(plain(row.get("method")), plain(row.get("settings"))) for row in rows}
    if "settings" in found and len(ways) == len({method for method, _ in ways}):
        found.remove("settings")
    return found


def plain(value: Any) -> Key:
    """A value of the metadata as a key: lists and objects as short text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, Mapping):
        return " ".join(f"{name}={plain(one)}" for name, one in sorted(value.items()))
    return "+".join(str(plain(one)) for one in value)


def _order(value: Key) -> tuple[bool, float, str]:
    """Numbers by size, texts by letter."""
    number = float(value) if isinstance(value, int | float) else 0.0
    return isinstance(value, str), number, str(value)
