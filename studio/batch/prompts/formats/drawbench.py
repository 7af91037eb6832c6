"""DrawBench: 200 prompts in 11 categories (2205.11487, section 4.2); a table with the columns Prompts and Category."""

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
        metadata = {"category": lower["category"]} if "category" in lower else {}
        prompt = lower.get("prompts", lower.get("prompt", ""))
        yield line, {"id": f"drawbench-{number:03d}", "prompt": prompt, "metadata": metadata}


FORMAT = PromptFormat("drawbench", read, file_name="drawbench.csv", source="https://imagen.research.google")
