"""PartiPrompts: 1,632 prompts with a category and a challenge (2206.10789, section 5.2); PartiPrompts.tsv."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lora_loom.studio.batch.prompts.formats.table import read_cells
from lora_loom.studio.batch.prompts.prompt_format import PromptFormat, RawRow


def read(path: Path) -> Iterator[RawRow]:
    for number, (line, cells) in enumerate(read_cells(path)):
        if isinstance(cells, str):
            yield line, cells
            continue
        lower = {name.lower(): cell for name, cell in cells.items()}
        metadata = {name: lower[name] for name in ("category", "challenge", "note") if name in lower}
        yield line, {"id": f"parti-{number:04d}", "prompt": lower.get("prompt", ""), "metadata": metadata}


FORMAT = PromptFormat(
    "partiprompts", read, file_name="PartiPrompts.tsv", source="https://github.com/google-research/parti"
)
