"""OwnPagesOnly: keeps other web pages in the same browser from using the studio.

A studio on the loopback address is reachable by every page the person has open. Two checks close that: a request
must be addressed to a loopback name, so that no foreign name can be pointed at it (DNS rebinding), and a request
that changes anything must come from the studio's own page or from no page at all (cross-site request forgery).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
READING = ("GET", "HEAD", "OPTIONS")
Scope = MutableMapping[str, Any]
App = Callable[
    [Scope, Callable[[], Awaitable[Any]], Callable[[MutableMapping[str, Any]], Awaitable[None]]], Awaitable[None]
]


class OwnPagesOnly:
    """ASGI middleware; `loopback_only` demands a loopback name in the Host header."""

    def __init__(self, app: App, loopback_only: bool) -> None:
        self.app = app
        self.loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "")
        reads = scope["type"] == "http" and scope["method"] in READING
        if self.loopback_only and host_name(host) not in LOOPBACK:
            await _refuse(scope, send, "this studio answers to localhost only")
        elif not reads and not _same_site(headers.get(b"origin"), host):
            await _refuse(scope, send, "this studio takes orders from its own pages only")
        else:
            await self.app(scope, receive, send)


def host_name(host: str) -> str:
    """The name in a Host header, without its port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_site(origin: str | None, host: str) -> bool:
    return origin is None or urlsplit(origin).netloc.lower() == host.lower()


async def _refuse(scope: Scope, send: Any, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
