"""Exporter: one layout for another program, and all the layouts there are: a file in exporters/ is one more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lora_loom.pipelines.plugins import Registry, instances
from lora_loom.studio.batch.rows import Row


@dataclass(frozen=True)
class Exporter:
    """`write` gets the rows, what reads the PNG of a row, and the new folder.

    It may raise BatchError for a choice that does not fit.
    """

    title: str
    write: Callable[[Sequence[Row], Callable[[Row], bytes], Path], None]


EXPORTERS: Registry[Exporter] = Registry(
    "export", folder="lora_loom.studio.batch.exporters", group="loom.exporters", offered=instances(Exporter)
)


def exporters() -> Mapping[str, Exporter]:
    """Every exporter by its name, which is that of its file or of its entry point."""
    return EXPORTERS.parts
