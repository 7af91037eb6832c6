"""The audit: every picture that was planned is there once, is what its row says, and nothing else is there."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lora_loom.studio.batch.folder import Batch
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.layouts.layout import Layout, sealed_rows
from lora_loom.studio.batch.rows import Row, planned_row
from lora_loom.studio.records.record import pixels_sha256


@dataclass(frozen=True)
class Problem:
    """What is wrong: `kind` is missing, failed, duplicate, unknown, unreadable, changed, stray or stale."""

    kind: str
    what: str


@dataclass(frozen=True)
class Audit:
    """The outcome; `pictures` were planned, `sound` are as they should be."""

    pictures: int
    sound: int
    problems: tuple[Problem, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


def audit(batch: Batch) -> Audit:
    """Compare the folder with its plan, reading every picture."""
    layout = layout_of(batch)
    rows = list(sealed_rows(batch))
    problems = [*_set_problems(batch, rows)]
    drawn = [row for row in rows if "error" not in row and row["uid"] in batch.by_uid]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside of Python's lock
        found = list(pool.map(lambda row: _picture_problem(batch, layout, row), drawn))
    problems += [problem for problem in found if problem is not None]
    problems += [Problem("stray", name) for name in layout.stray()]
    if not layout.is_gathered():
        what = "metadata.jsonl or failed.jsonl is not what the shards say: `loom batch run` writes them anew"
        problems.append(Problem("stale", what))
    return Audit(len(batch.pictures), found.count(None), tuple(problems))


def _set_problems(batch: Batch, rows: list[Row]) -> Iterator[Problem]:
    counts = Counter(row["uid"] for row in rows)
    for row in rows:
        if row["uid"] not in batch.by_uid:
            yield Problem("unknown", f"{row['uid']} is in no plan")
        elif "error" in row:
            yield Problem("failed", f"{row['uid']} {row['prompt_id']}: {row['error'].get('message', '')}")
    for uid, count in counts.items():
        if count > 1:
            yield Problem("duplicate", f"{uid} has {count} rows")
    for uid, picture in batch.by_uid.items():
        if uid not in counts:
            yield Problem("missing", f"{uid} {picture.prompt_id}, shard {picture.shard}")


def _picture_problem(batch: Batch, layout: Layout, row: Row) -> Problem | None:
    from PIL import Image, UnidentifiedImageError

    uid = row["uid"]
    for name, planned in planned_row(batch.by_uid[uid]).items():
        if name not in ("width", "height") and row.get(name) != planned:
            return Problem("changed", f"{uid}: {name} is not as planned")
    try:
        with Image.open(io.BytesIO(layout.read(row))) as image:
            image.load()
            found = pixels_sha256(image)
    except FileNotFoundError:
        return Problem("missing", f"{uid}: {row['file_name']} is gone")
    except (OSError, KeyError, ValueError, SyntaxError, UnidentifiedImageError) as error:
        return Problem("unreadable", f"{uid}: {row['file_name']}: {error}")
    if found != row["pixels_sha256"]:
        return Problem("changed", f"{uid}: the pixels are not those that were drawn")
    return None
