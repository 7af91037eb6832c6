"""The Compose tab's events on a page of their own, without a server."""

import gc
from contextlib import contextmanager

import gradio as gr
import pytest

from lora_loom.studio.ui.compose_events import ComposeEvents
from lora_loom.studio.ui.compose_layout import lay_out
from lora_loom.studio.ui.workspace import Workspace


@contextmanager
def _connected(studio):
    workspace = Workspace.open(studio)
    with gr.Blocks(analytics_enabled=False) as page:
        events = ComposeEvents(lay_out(), workspace)
        events.connect(page)
    yield events
    workspace.close()
    del page
    gc.collect()  # while the warnings about Gradio's loops are still ignored


@pytest.fixture(scope="session")
def connected_events():
    """A context manager: the events of a studio's Compose tab."""
    return _connected
