"""Layouts: where the pictures of a batch lie, as loose files or as webdataset shards; found by their name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lora_loom.pipelines.errors import BatchError
from lora_loom.pipelines.plugins import Registry

if TYPE_CHECKING:
    from lora_loom.studio.batch.folder import Batch
    from lora_loom.studio.batch.layouts.layout import Layout

LAYOUTS: Registry[Callable[[Batch], Layout]] = Registry(
    "batch layout",
    folder=__name__,
    group="loom.layouts",
    offered=lambda module: [module.make] if hasattr(module, "make") else [],
    name_of=lambda make, module: module,
)


def layout_of(batch: Batch) -> Layout:
    """The layout that the batch was planned with; raises BatchError for one that is not there."""
    return LAYOUTS.get(batch.info.layout, BatchError)(batch)
