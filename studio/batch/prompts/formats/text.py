"""Plain text: one prompt per line, with the inline options of kohya's sd-scripts; `#` begins a comment line.

--n negative prompt, --w width, --h height, --d seed, --l guidance scale, --s steps.
Source: kohya-ss/sd-scripts, library/train_util.py, line_to_prompt_dict.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lora_loom.studio.batch.prompts.prompt_format import PromptFormat, RawRow

OPTIONS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "n": ("negative_prompt", str),
    "w": ("width", int),
    "h": ("height", int),
    "d": ("seed", int),
    "l": ("guidance_scale", float),
    "s": ("num_inference_steps", int),
}
BREAK = re.compile(r"(?:^|\s)--(?=[A-Za-z])")


def read(path: Path) -> Iterator[RawRow]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if text.strip() and not text.lstrip().startswith("#"):
                yield line, _values(text.strip())


def _values(text: str) -> dict[str, Any] | str:
    prompt, *options = BREAK.split(text)
    values: dict[str, Any] = {"prompt": prompt.strip()}
    for option in options:
        letter, _, value = option.strip().partition(" ")
        if letter.lower() not in OPTIONS:
            return f"unknown option --{letter}; there are {', '.join(f'--{name}' for name in OPTIONS)}"
        column, kind = OPTIONS[letter.lower()]
        try:
            values[column] = kind(value.strip())
        except ValueError:
            return f"--{letter} needs a number, found {value.strip()[:40]!r}"
    return values


FORMAT = PromptFormat("txt", read, suffixes=(".txt",))
