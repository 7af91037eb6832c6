"""A flat folder of <uid>.png and nothing else, for tools of FID and KID; OUT.jsonl beside it has the prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from lora_loom.studio.batch.exporter import Exporter
from lora_loom.studio.batch.rows import Row


def write(rows: Sequence[Row], png: Callable[[Row], bytes], out: Path) -> None:
    names = ("uid", "prompt_id", "prompt", "seed", "method")
    with out.with_name(f"{out.name}.jsonl").open("x", encoding="utf-8") as listing:
        for row in rows:
            (out / f"{row['uid']}.png").write_bytes(png(row))
            listing.write(json.dumps({name: row[name] for name in names}, ensure_ascii=False) + "\n")


EXPORTER = Exporter("one folder of pictures, for FID and KID", write)
