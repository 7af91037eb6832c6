"""GenEval's layout (2310.11513): 00000/metadata.jsonl says what to find, 00000/samples/0000.png are the pictures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from lora_loom.pipelines.errors import BatchError
from lora_loom.studio.batch.exporter import Exporter
from lora_loom.studio.batch.rows import Row


def write(rows: Sequence[Row], png: Callable[[Row], bytes], out: Path) -> None:
    prompts: dict[str, list[Row]] = {}
    for row in rows:
        prompts.setdefault(row["prompt_id"], []).append(row)
    for place, (prompt_id, samples) in enumerate(prompts.items()):
        _check_alike(samples)
        known = re.fullmatch(r"geneval-(\d+)", prompt_id)
        folder = out / f"{int(known[1]) if known else place:05d}"
        (folder / "samples").mkdir(parents=True)
        expected = samples[0]["expected"] if isinstance(samples[0]["expected"], dict) else samples[0]["metadata"]
        text = json.dumps({**expected, "prompt": samples[0]["prompt"]}, ensure_ascii=False)
        (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
        for row in samples:
            (folder / "samples" / f"{row['sample_index']:04d}.png").write_bytes(png(row))


def _check_alike(samples: Sequence[Row]) -> None:
    """GenEval scores one model: pictures that differ in more than their seed would be mixed up."""
    if len({row["config"] for row in samples}) > 1:
        ways = sorted({f"method={row['method']} config={row['config']}" for row in samples})
        raise BatchError(
            "GenEval takes one way of drawing every prompt",
            expected="pictures of one configuration",
            found="; ".join(ways[:4]),
            remedy="Choose with --where, such as --where method=merge or --where config=...",
        )


EXPORTER = Exporter("a folder for each prompt, for GenEval's detector", write)
