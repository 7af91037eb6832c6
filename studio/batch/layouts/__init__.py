"""Layouts: where the pictures of a batch lie, as loose files or as webdataset shards; found by their name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_loom.studio.batch.folder import Batch
    from lora_loom.studio.batch.layouts.layout import Layout


def layout_of(batch: Batch) -> Layout:
    """The layout that the batch was planned with: the module of that name in this folder."""
    return importlib.import_module(f"{__package__}.{batch.info.layout}").make(batch)
