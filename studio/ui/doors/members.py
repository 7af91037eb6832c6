"""MembersOnly: with a login, nothing but the way to it is answered before it, and guessing passwords is slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any

from lora_loom.studio.ui.doors.asgi import App, Message, Receive, Scope, Send, headers_of, refuse

# What the login page is made of. Gradio answers "/" and "/config" with that page as long as nobody is logged in.
OPEN_PATHS = ("/", "/login", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
OPEN_FOLDERS = ("/assets/", "/static/", "/svelte/")
TRIES = 5  # wrong passwords of one address before it has to wait
PAUSE, LONGEST_PAUSE = 10.0, 600.0  # seconds, doubled at each further wrong one


class MembersOnly:
    """ASGI middleware; `knows(cookies)` tells whether these belong to somebody who is logged in."""

    def __init__(
        self, app: App, knows: Callable[[Mapping[str, str]], bool], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.app, self.knows, self.clock = app, knows, clock
        self._wrong: dict[str, tuple[int, float]] = {}  # by address: wrong tries, and until when it has to wait

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path: str = scope["path"]
        if path.rstrip("/") == "/login" and scope.get("method") == "POST":
            await self._login(scope, receive, send)
        elif path in OPEN_PATHS or path.startswith(OPEN_FOLDERS) or self.knows(_cookies(scope)):
            await self.app(scope, receive, send)
        else:
            await refuse(scope, send, "log in first", 401)

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        address = str((scope.get("client") or ("",))[0])
        tries, until = self._wrong.get(address, (0, 0.0))
        if (left := until - self.clock()) > 0:
            headers = [(b"retry-after", str(int(left) + 1).encode())]
            await refuse(scope, send, f"too many wrong passwords: try again in {int(left) + 1} seconds", 429, headers)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(address, tries, message["status"])
            await send(message)

        await self.app(scope, receive, sending)

    def _note(self, address: str, tries: int, status: int) -> None:
        if status < 400:
            self._wrong.pop(address, None)
            return
        pause = min(PAUSE * 2 ** (tries + 1 - TRIES), LONGEST_PAUSE) if tries + 1 >= TRIES else 0.0
        self._wrong[address] = (tries + 1, self.clock() + pause)
        while len(self._wrong) > 10_000:  # addresses are free to whoever floods
            del self._wrong[next(iter(self._wrong))]


def logged_in(gradio_app: Any) -> Callable[[Mapping[str, str]], bool]:
    """Whether cookies hold a token that the login of this Gradio application gave out."""

    def knows(cookies: Mapping[str, str]) -> bool:
        names = (f"access-token-{gradio_app.cookie_id}", f"access-token-unsecure-{gradio_app.cookie_id}")
        return any(gradio_app.tokens.get(cookies.get(name)) is not None for name in names)

    return knows


def _cookies(scope: Scope) -> dict[str, str]:
    try:
        held = SimpleCookie(headers_of(scope).get(b"cookie", ""))
    except CookieError:
        return {}
    return {name: morsel.value for name, morsel in held.items()}
