"""OwnPagesOnly: keeps other web pages in the same browser from using the studio.

A studio on the loopback address is reachable by every page the person has open. Three checks close that: a request
must be addressed to a loopback name, so that no foreign name can be pointed at it (DNS rebinding); a request that
changes anything must come from the studio's own page or from no page at all (cross-site request forgery); and nothing
is read by a foreign page, which gets no leave to (CORS) and may not frame the studio.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from lora_loom.studio.ui.doors.asgi import App, Receive, Scope, Send, headers_of, refuse

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class OwnPagesOnly:
    """ASGI middleware; `loopback_only` demands a loopback name in the Host header."""

    def __init__(self, app: App, loopback_only: bool) -> None:
        self.app = app
        self.loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = headers_of(scope)
        host = headers.get(b"host", "")
        if self.loopback_only and host_name(host) not in LOOPBACK:
            await refuse(scope, send, "this studio answers to localhost only")
        elif not _same_site(headers.get(b"origin"), host) or _fetched_by_another(headers):
            await refuse(scope, send, "this studio answers to its own pages only")
        else:
            await self.app(scope, receive, send)


def host_name(host: str) -> str:
    """The name in a Host header, without its port and brackets."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _same_site(origin: str | None, host: str) -> bool:
    """Whether a request was made by a page of this host, or by none."""
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # such as "http://["
        return False


def _fetched_by_another(headers: dict[bytes, str]) -> bool:
    """Whether a browser says that another site's page asks for more than to be left for this one (Fetch Metadata)."""
    foreign = headers.get(b"sec-fetch-site") in ("cross-site", "same-site")
    return foreign and headers.get(b"sec-fetch-mode") != "navigate"
