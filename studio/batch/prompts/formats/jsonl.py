"""JSON lines: one object with at least `prompt` on every line; empty lines count but say nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.studio.batch.prompts.prompt_format import PromptFormat, RawRow


def read(path: Path) -> Iterator[RawRow]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                values = parse_json(text)
            except (ValueError, RecursionError) as error:
                yield line, f"this is not JSON: {error}"
                continue
            yield line, values if isinstance(values, dict) else "this is not an object with a prompt"


FORMAT = PromptFormat("jsonl", read, suffixes=(".jsonl", ".ndjson"))
