"""The page: header and tabs. Every module of `tabs/` that defines `TAB` is a tab, so adding one is adding a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from markupsafe import Markup

from lora_loom.pipelines.plugins import Registry, instances
from lora_loom.studio.templates import render
from lora_loom.studio.ui.api import add_endpoints
from lora_loom.studio.ui.theme import LOGO
from lora_loom.studio.ui.workspace import Workspace

UPLOADS_KEPT = 3_600  # seconds after which a dropped picture is forgotten


@dataclass(frozen=True)
class Tab:
    """A tab of the studio: `build` makes its components for a workspace; tabs stand in the order of `order`."""

    title: str
    order: int
    build: Callable[[Workspace, gr.Blocks], None]


TABS: Registry[Tab] = Registry(
    "tab",
    folder="lora_loom.studio.ui.tabs",
    group="loom.tabs",
    offered=instances(Tab),
    name_of=lambda tab, _: tab.title,
)


def find_tabs() -> list[Tab]:
    """The tabs that exist, in order."""
    return sorted(TABS.parts.values(), key=lambda tab: (tab.order, tab.title))


def build_page(workspace: Workspace) -> gr.Blocks:
    """The whole page; nothing is loaded yet."""
    with gr.Blocks(
        title="Loom", analytics_enabled=False, fill_width=True, delete_cache=(UPLOADS_KEPT, UPLOADS_KEPT)
    ) as page:
        add_endpoints(workspace)  # first, so that the page's own events cannot take their names
        gr.HTML(_header(workspace), apply_default_css=False, elem_id="loom-header")
        with gr.Tabs(elem_id="loom-tabs"):
            for tab in find_tabs():
                with gr.Tab(tab.title, id=tab.title):
                    tab.build(workspace, page)
    return page


def _header(workspace: Workspace) -> str:
    base = workspace.studio.base_model
    name = "pocket world" if base == "pocket" else Path(base).name
    logo = Markup(LOGO.read_text(encoding="utf-8"))
    return render("ui/page.html.j2", logo=logo, base=base, name=name)
