"""Open the studio: for this machine alone unless there is a password, serving only what may be seen, asking nobody."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import RequestError
from studio.library import AdapterLibrary
from studio.session import Studio, library_roots
from studio.ui.own_pages import LOOPBACK, OwnPagesOnly

MAX_UPLOAD = "64mb"
Auth = tuple[str, str] | list[tuple[str, str]]


def launch(
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    auth: Auth | None = None,
    base_model: str = "pocket",
    library: Sequence[str | Path] = (),
    output_dir: str | Path | None = None,
    open_browser: bool = False,
    block: bool = True,
) -> Any:
    """Start the studio and serve it until it is stopped; with `block` False return the running page to `close()`.

    `port` None takes the first free one from 7860. `auth` is a name with a password, or several; without it only a
    loopback `host` is accepted, and anything else raises RequestError. `library` are folders of LoRAs beside the
    pocket world's own.
    """
    if host not in LOOPBACK and not auth:
        raise RequestError(
            f"the studio will not listen on {host} without a password",
            expected=f"one of {', '.join(LOOPBACK)}, or a name and password",
            found=host,
            remedy="leave out the host, or give --auth NAME:PASSWORD",
        )
    studio = Studio(base_model, AdapterLibrary(library_roots(library)), output_dir)
    _be_quiet(studio)

    from starlette.middleware import Middleware

    from studio.ui.page import build_page
    from studio.ui.theme import STYLE_SHEET, theme
    from studio.ui.workspace import Workspace

    workspace = Workspace.open(studio)
    page = build_page(workspace)
    page.launch(
        server_name=host,
        server_port=port,
        auth=auth,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        share=False,
        show_error=False,
        quiet=not block,
        footer_links=[],
        run_history=False,
        strict_cors=True,
        ssr_mode=False,
        mcp_server=False,
        enable_monitoring=False,
        max_file_size=MAX_UPLOAD,
        allowed_paths=[str(folder) for folder in workspace.served_folders],
        blocked_paths=[str(folder) for folder in workspace.private_folders],
        app_kwargs={
            "middleware": [Middleware(OwnPagesOnly, loopback_only=host in LOOPBACK)],
            "docs_url": None,
            "redoc_url": None,
        },
        theme=theme(),
        css_paths=[STYLE_SHEET],
    )
    if block:
        try:
            page.block_thread()
        finally:
            workspace.close()
    return page


def _be_quiet(studio: Studio) -> None:
    """What Gradio reads when it is imported: no analytics, uploads in a folder of our own."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("GRADIO_TEMP_DIR", str(studio.output_dir / ".loom" / "uploads"))
