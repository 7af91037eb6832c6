"""The Compose tab: pick LoRAs, say what to draw, watch the picture form, and keep it."""

from __future__ import annotations

import gradio as gr

from lora_loom.studio.ui.compose_events import ComposeEvents
from lora_loom.studio.ui.compose_layout import lay_out
from lora_loom.studio.ui.page import Tab
from lora_loom.studio.ui.workspace import Workspace


def build(workspace: Workspace, page: gr.Blocks) -> None:
    """Make the tab's components and connect them to the workspace."""
    ComposeEvents(lay_out(), workspace).connect(page)


TAB = Tab(title="Compose", order=10, build=build)
