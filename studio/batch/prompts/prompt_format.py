"""PromptFormat: how one kind of prompt file is read, and all the kinds there are: a file in formats/ is one more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lora_loom.pipelines.plugins import Registry, instances

# A line or row number, counted from 1, with the values by column, or with what is wrong.
RawRow: TypeAlias = "tuple[int, dict[str, Any] | str]"


@dataclass(frozen=True)
class PromptFormat:
    """A kind of prompt file: `read` gives its rows and may raise OSError, UnicodeDecodeError and SuiteError.

    A format is known by `suffixes`. A preset is a public list: it has the `file_name` that its authors gave it and the
    `source` where they publish it. Loom reads the file and never downloads it.
    """

    name: str
    read: Callable[[Path], Iterator[RawRow]]
    suffixes: tuple[str, ...] = ()
    file_name: str = ""
    source: str = ""

    @property
    def is_preset(self) -> bool:
        return bool(self.file_name)


PROMPT_FORMATS: Registry[PromptFormat] = Registry(
    "prompt format",
    folder="lora_loom.studio.batch.prompts.formats",
    group="loom.prompt_formats",
    offered=instances(PromptFormat),
)


def prompt_formats() -> Mapping[str, PromptFormat]:
    """Every format and preset by its name."""
    return PROMPT_FORMATS.parts
