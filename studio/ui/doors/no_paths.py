"""NoPaths: an order to the page names no file of this machine and no address of another, but what was uploaded here.

A file goes into Gradio's events as an object with a `path`, which Gradio opens, copies into the folder it serves and
hands back. Only paths of the upload folder come through; the order is read before Gradio sees it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from lora_loom.pipelines.checked_json import parse_json
from lora_loom.studio.sidecars import is_file_inside
from lora_loom.studio.ui.doors.asgi import App, Message, Receive, Scope, Send, headers_of, refuse

MAX_ORDER = 24 * 2**20  # bytes of JSON: masks and form values; files are uploaded on another way


class NoPaths:
    """ASGI middleware; `uploads` is where dropped files lie."""

    def __init__(self, app: App, uploads: Path) -> None:
        self.app, self.uploads = app, uploads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            await self.app(scope, receive, send)
            return
        kind = headers_of(scope).get(b"content-type", "").partition(";")[0].strip().lower()
        if kind in ("multipart/form-data", "application/x-www-form-urlencoded"):  # uploads and the login: no order
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            await refuse(scope, send, "this order is too large", 413)
            return
        try:
            order = parse_json(body) if body else None
        except ValueError as error:
            await refuse(scope, send, f"this order cannot be read: {error}", 400)
            return
        if all(is_file_inside(self.uploads, Path(path)) for path in paths_in(order)):
            await self.app(scope, _replayed(body, receive), send)
        else:
            await refuse(scope, send, "an order takes no path and no address: upload the file", 400)


def paths_in(value: Any) -> Iterator[str]:
    """Every `path` with text in any object of a JSON value."""
    stack: list[Any] = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            fields = cast("dict[str, Any]", each)
            if isinstance(path := fields.get("path"), str):
                yield path
            stack.extend(fields.values())
        elif isinstance(each, list):
            stack.extend(cast("list[Any]", each))


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None for one that is too large."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_ORDER:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replay() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
