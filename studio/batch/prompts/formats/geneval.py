"""GenEval: 553 prompts with what a detector is to find (2310.11513); evaluation_metadata.jsonl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lora_loom.studio.batch.prompts.formats import jsonl
from lora_loom.studio.batch.prompts.prompt_format import PromptFormat, RawRow


def read(path: Path) -> Iterator[RawRow]:
    for number, (line, values) in enumerate(jsonl.read(path)):
        if isinstance(values, str):
            yield line, values
        else:
            yield line, {"id": f"geneval-{number:05d}", "prompt": values.get("prompt", ""), "expected": values}


FORMAT = PromptFormat(
    "geneval", read, file_name="evaluation_metadata.jsonl", source="https://github.com/djghosh13/geneval"
)
