"""Tables as text, .csv and .tsv: the first row names the columns, an empty cell says nothing.

Cells of columns that hold more than text are read as JSON where they are JSON: `[1, 2]` in `seeds`, `20` in `steps`.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import SuiteError
from lora_loom.studio.batch.prompts.prompt_format import PromptFormat, RawRow
from lora_loom.studio.batch.prompts.prompt_row import COLUMNS, TEXT_COLUMNS


def read(path: Path) -> Iterator[RawRow]:
    for line, values in read_cells(path):
        yield line, values if isinstance(values, str) else {name: _value(name, cell) for name, cell in values.items()}


def read_cells(path: Path) -> Iterator[tuple[int, dict[str, str] | str]]:
    """The rows as text by column, without their empty cells; raises SuiteError for a table without a sound head."""
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        head: list[str] = []
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, f"this is no row of a table: {error}"
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if not head:
                head = _head(path, cells)
            elif len(cells) > len(head):
                yield reader.line_num, f"{len(cells)} cells in a table of {len(head)} columns"
            else:
                filled = zip(head, cells, strict=False)
                yield reader.line_num, {name: cell for name, cell in filled if cell.strip()}


def _head(path: Path, cells: list[str]) -> list[str]:
    head = [cell.strip() for cell in cells]
    if len(set(head)) < len(head) or not all(head):
        raise SuiteError(
            f"{path.name} does not name its columns",
            expected="a first row with a different name for every column",
            found=", ".join(head)[:200],
        )
    return head


def _value(column: str, cell: str) -> Any:
    if column not in COLUMNS or column in TEXT_COLUMNS:
        return cell
    try:
        return parse_json(cell)
    except (ValueError, RecursionError):
        return cell


FORMAT = PromptFormat("table", read, suffixes=(".csv", ".tsv"))
