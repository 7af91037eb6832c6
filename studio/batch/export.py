"""Exporting: a choice of a batch's pictures, in a new folder, laid out for another program."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lora_loom.pipelines.errors import BatchError, OutputError, RequestError
from lora_loom.studio.batch.exporter import EXPORTERS
from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.layouts.layout import sealed_rows
from lora_loom.studio.batch.rows import Row, planned_row


def export(batch: Batch, to: str, out: Path, where: Iterable[str] = (), *, partial: bool = False) -> int:
    """Write the pictures for which all of `where` (`key=value` of their rows) hold; how many there were.

    Raises RequestError for an unknown exporter or key, BatchError if nothing is chosen or, unless `partial`, if a
    chosen picture is not drawn, OutputError for a folder that is not empty.
    """
    exporter = EXPORTERS.get(to, RequestError)
    chosen = _chosen(batch, [_condition(text) for text in where])
    rows = [row for row in sealed_rows(batch) if row["uid"] in chosen and "error" not in row]
    if len(rows) < len(chosen) and not partial:
        raise BatchError(
            f"{len(chosen) - len(rows)} of {len(chosen)} pictures are not drawn",
            remedy="Run the batch to its end, or export what there is with --partial",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is not an empty folder", remedy="Choose a new folder")
    try:
        out.mkdir(parents=True, exist_ok=True)
        exporter.write(rows, layout_of(batch).read, out)
    except OSError as error:
        raise OutputError(f"the export to {out} broke off", found=error.strerror or str(error)) from error
    return len(rows)


def _condition(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RequestError("--where cannot be read", expected="key=value, such as method=merge", found=repr(text))
    return key.strip(), value.strip()


def _chosen(batch: Batch, conditions: Sequence[tuple[str, str]]) -> set[str]:
    """The uids of the pictures for which all conditions hold."""
    known = {picture.uid: _known(planned_row(picture)) for picture in batch.pictures}
    for key, _ in conditions:
        if not any(key in values for values in known.values()):
            names = dict.fromkeys(name for values in known.values() for name in values)
            raise RequestError(f"the pictures have no {key!r}", expected=f"one of {', '.join(names)}")
    chosen = {uid for uid, values in known.items() if all(value in values.get(key, ()) for key, value in conditions)}
    if not chosen:
        asked = " ".join(f"{key}={value}" for key, value in conditions)
        raise BatchError("no picture of the batch is chosen", found=asked)
    return chosen


def _known(row: Row) -> dict[str, set[str]]:
    """What may stand for each value of the row and its metadata; LoRAs are their names in order, joined by `+`."""
    values: dict[str, Any] = {**row["metadata"], **row, "loras": "+".join(lora["name"] for lora in row["loras"])}
    return {key: {str(value), json.dumps(value)} for key, value in values.items()}
