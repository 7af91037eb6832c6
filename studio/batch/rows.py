"""The row of a picture: what was planned, and what was measured, which its PNG keeps until its shard is sealed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.pipelines.errors import RecordError
from lora_loom.studio.batch.picture import Picture
from lora_loom.studio.records.png_text import read_text
from lora_loom.studio.records.record import pixels_sha256, write_png

if TYPE_CHECKING:
    from lora_loom.studio.session import Generation

KEYWORD = "loom-batch"
Row = dict[str, Any]


def planned_row(picture: Picture) -> Row:
    """What is known of a picture before it is drawn."""
    asked = picture.request.to_dict()
    loras = [{**choice, "sha256": picture.adapter_sha256[choice["name"]]} for choice in asked.pop("adapters")]
    del asked["num_images_per_prompt"]
    return {
        "uid": picture.uid,
        "prompt_id": picture.prompt_id,
        "sample_index": picture.sample_index,
        **asked,
        "loras": loras,
        "config": picture.config,
        "base_model_revision": picture.base_model_revision,
        "expected": picture.expected,
        "metadata": dict(picture.metadata),
    }


def measured(picture: Picture, made: Generation, *, worker: str, attempt: int, batch_size: int) -> Row:
    """What is known since the picture was drawn: `seconds` and `passes` are its share, `attempt` its shard's lease."""
    record = made.record
    return {
        "uid": picture.uid,
        "width": made.image.width,
        "height": made.image.height,
        "pixels_sha256": pixels_sha256(made.image),
        "seconds": round(record.seconds, 6),
        "passes": dict(record.passes),
        "cost": dict(record.cost),
        "peak_memory_bytes": record.peak_memory_bytes,
        "device": record.device,
        "dtype": record.dtype,
        "attention": record.attention,
        "versions": dict(record.package_versions),
        "created_at": record.created_at,
        "worker": worker,
        "attempt": attempt,
        "batch_size": batch_size,
    }


def write_picture(file: BinaryIO, made: Generation, row: Mapping[str, Any]) -> None:
    """The PNG of a picture with its record, as all pictures of Loom have one, and what was measured."""
    write_png(file, made.image, made.record, {KEYWORD: json.dumps(row, allow_nan=False)})


def read_row(path: Path, picture: Picture) -> Row:
    """The whole row of the picture in the PNG at `path`; raises RecordError if it is another one."""
    text = read_text(path, KEYWORD)
    try:
        row = parse_json(text or "")
        sound = row["uid"] == picture.uid
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path} carries no row of a batch", found=str(error)[:200]) from error
    if not sound:
        raise RecordError(f"{path} is another picture", expected=picture.uid, found=str(row["uid"])[:40])
    return planned_row(picture) | row
