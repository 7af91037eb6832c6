"""PromptFormat: how one kind of prompt file is read, and all the kinds there are: a file in formats/ is one more."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from lora_loom.studio.batch.prompts import formats as formats_package

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


@cache
def prompt_formats() -> dict[str, PromptFormat]:
    """Every format and preset by its name."""
    found: dict[str, PromptFormat] = {}
    for module in pkgutil.iter_modules(formats_package.__path__, f"{formats_package.__name__}."):
        each: PromptFormat = importlib.import_module(module.name).FORMAT
        if each.name in found:
            raise TypeError(f"two prompt formats are called {each.name!r}; rename one of them")
        found[each.name] = each
    return dict(sorted(found.items()))
