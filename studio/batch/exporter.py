"""Exporter: one layout for another program, and all the layouts there are: a file in exporters/ is one more."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lora_loom.studio.batch import exporters as exporters_package
from lora_loom.studio.batch.rows import Row


@dataclass(frozen=True)
class Exporter:
    """`write` gets the rows, what reads the PNG of a row, and the new folder.

    It may raise BatchError for a choice that does not fit.
    """

    title: str
    write: Callable[[Sequence[Row], Callable[[Row], bytes], Path], None]


@cache
def exporters() -> dict[str, Exporter]:
    """Every exporter by its name, which is that of its file."""
    found = pkgutil.iter_modules(exporters_package.__path__)
    return {each.name: importlib.import_module(f"{exporters_package.__name__}.{each.name}").EXPORTER for each in found}
