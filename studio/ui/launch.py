"""Open the studio: for this machine alone unless there is a password, serving only what may be seen, asking nobody."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.errors import RequestError
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.session import Studio, library_roots
from lora_loom.studio.ui.doors.members import MembersOnly, logged_in
from lora_loom.studio.ui.doors.no_paths import NoPaths
from lora_loom.studio.ui.doors.own_pages import LOOPBACK, OwnPagesOnly
from lora_loom.studio.ui.doors.served_files import PicturesOnly

if TYPE_CHECKING:
    from lora_loom.studio.ui.server import Server
    from lora_loom.studio.ui.workspace import Workspace

MAX_UPLOAD = "64mb"
DRAIN_SECONDS = 60.0  # for the picture being drawn, when the studio is asked to end
logger = logging.getLogger(__name__)
Auth = tuple[str, str] | list[tuple[str, str]]


@dataclass(frozen=True)
class RunningStudio:
    """A studio that is being served at `server.url`."""

    server: Server
    workspace: Workspace

    def close(self, *, drain: float = 0.0) -> None:
        """Stop serving, stop drawing, close the list of jobs; the job being drawn has `drain` seconds to end."""
        self.server.close()
        self.workspace.close(drain=drain)


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
) -> RunningStudio:
    """Start the studio and serve it until it is stopped; with `block` False return at once.

    `port` None takes the first free one from 7860. `auth` is a name with a password, or several; without it only a
    loopback `host` is accepted, and anything else raises RequestError. `library` are folders of LoRAs beside the
    pocket world's own. Raises BaseModelError if there is no such base model, OSError if the port is taken.
    """
    if host not in LOOPBACK and not auth:
        raise RequestError(
            f"the studio will not listen on {host} without a password",
            expected=f"one of {', '.join(LOOPBACK)}, or a name and password",
            found=host,
            remedy="Leave out the host, or give --auth NAME:PASSWORD",
        )
    studio = Studio(base_model, AdapterLibrary(library_roots(library)), output_dir)
    _ = studio.base_folder  # a base model that is not there is said before any page opens
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads_folder())  # both are read at import

    from lora_loom.studio.ui.server import Server
    from lora_loom.studio.ui.workspace import Workspace

    workspace = Workspace.open(studio)
    try:
        running = RunningStudio(Server(application(workspace, host, auth), host, port), workspace)
    except OSError:
        workspace.close()
        raise
    if block:
        threading.Thread(target=_load_early, args=(studio,), name="loom-loading", daemon=True).start()
        if workspace.store.notice:
            print(workspace.store.notice, file=sys.stderr, flush=True)
        print(f"Loom is open at {running.server.url}  (Ctrl-C ends it)", flush=True)
    if open_browser and _has_display():
        webbrowser.open(running.server.url)
    if block:
        terminated = threading.Event()
        previous = signal.signal(signal.SIGTERM, lambda number, frame: _terminate(terminated))
        try:
            running.server.wait()
        except KeyboardInterrupt:
            print(
                "Closing" + (": the picture being drawn is finished first" if terminated.is_set() else ""), flush=True
            )
        finally:
            running.close(drain=DRAIN_SECONDS if terminated.is_set() else 0.0)
            signal.signal(signal.SIGTERM, previous)
    return running


def _terminate(terminated: threading.Event) -> None:
    """What a supervisor sends: end in good order, and at once when it is sent again."""
    terminated.set()
    raise KeyboardInterrupt


def _has_display() -> bool:
    """Whether a browser would get a window; without one it could take over the terminal."""
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _load_early(studio: Studio) -> None:
    """Load the base model while the person looks around; what goes wrong is told to whoever draws first."""
    try:
        _ = studio.pipeline
    except Exception as error:
        logger.info("the base model is not loaded yet: %s", error)


def application(workspace: Workspace, host: str, auth: Auth | None) -> Any:
    """The page as an ASGI application with every door closed that it does not need."""
    import gradio as gr
    from fastapi import FastAPI

    from lora_loom.studio.ui.page import build_page
    from lora_loom.studio.ui.theme import FAVICON, SCRIPTS, STYLE_SHEET, theme

    page = build_page(workspace)
    app = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        page,
        path="/",
        auth=auth,
        allowed_paths=[str(folder) for folder in workspace.served_folders],
        blocked_paths=[str(folder) for folder in workspace.private_folders],
        favicon_path=str(FAVICON),
        show_error=False,
        max_file_size=MAX_UPLOAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        app_kwargs={"docs_url": None, "redoc_url": None},
        theme=theme(),
        css_paths=[STYLE_SHEET],
        head="".join(f"<script>{script.read_text(encoding='utf-8')}</script>" for script in SCRIPTS),
    )
    page.has_launched = True  # without it Gradio opens any path that is sent to an event
    closed: Any = NoPaths(app, uploads_folder())
    closed = PicturesOnly(closed, [workspace.studio.output_dir], workspace.thumbnails, uploads_folder())
    if auth:
        closed = MembersOnly(closed, logged_in(_gradio_of(app)))
    return OwnPagesOnly(closed, loopback_only=host in LOOPBACK)


def _gradio_of(app: Any) -> Any:
    """The Gradio application that was mounted."""
    return next(route.app for route in app.routes if hasattr(getattr(route, "app", None), "tokens"))


@functools.cache
def uploads_folder() -> Path:
    """Where files lie that are dropped on the page: outside all that is served by name, gone with the process."""
    folder = Path(tempfile.mkdtemp(prefix="loom-uploads-")).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
