"""The types of ASGI, and the plain answers that a door gives instead of the application's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def headers_of(scope: Scope) -> dict[bytes, str]:
    """The headers of a request by their lower-case names."""
    return {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}


async def refuse(
    scope: Scope, send: Send, why: str, status: int = 403, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answer with a sentence and an error status; a websocket is closed."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    fields = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": why.encode()})


def with_headers(send: Send, change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> Send:
    """A `send` that lets `change` rewrite the headers of the answer, whose names come in lower case."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            fields = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", [])]
            message = {**message, "headers": change(fields)}
        await send(message)

    return sending
