"""Which rows a suite has, and a run of it: `run("runtime")` gives the document that `loom bench runtime` prints."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

from lora_loom.pipelines.plugins import modules_of
from lora_loom.studio.bench.clock import one_thread
from lora_loom.studio.bench.rows import Row
from lora_loom.studio.results import commit
from lora_loom.studio.versions import package_versions

GROUPS = {
    "runtime": ("kernels", "forward_time", "switching", "loading", "batches", "graphs", "memory"),
    "batch": ("throughput",),
}


def groups_of(suite: str) -> tuple[str, ...]:
    """The modules of a suite, in the order they are run: as listed, or all files of its folder by name."""
    if suite in GROUPS:
        return GROUPS[suite]
    return tuple(module.__name__.rpartition(".")[2] for module in modules_of(f"lora_loom.studio.bench.{suite}"))


def run(suite: str, *, quick: bool = False, on_row: Callable[[Row], None] | None = None) -> dict[str, Any]:
    """Measure all rows of a suite, on one thread; `quick` takes fewer samples, `on_row` gets each row when it is there.

    Raises LoomError when what is to be compared does not compute the same.
    """
    rows: list[Row] = []
    with one_thread(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="peft", category=UserWarning)  # it finds several adapters remarkable
        for group in groups_of(suite):
            found: list[Row] = importlib.import_module(f"lora_loom.studio.bench.{suite}.{group}").measure(quick)
            for each in found:
                rows.append(each)
                if on_row is not None:
                    on_row(each)
    command = f"loom bench {suite} --json{' --quick' if quick else ''}"
    return {"command": command, "commit": commit(), "versions": package_versions(), "rows": rows}
