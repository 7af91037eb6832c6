"""`loom studio`: open the studio in a browser."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import RequestError


def command(
    host: Annotated[str, typer.Option(help="Address to listen on; anything but loopback needs --auth.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65_535)] = 7860,
    base: Annotated[str, typer.Option(help="Base model: a name, hub id or folder.")] = "pocket",
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    outputs: Annotated[Path | None, typer.Option(help="Folder for the pictures (outputs).")] = None,
    attention: Annotated[str, typer.Option(help="What computes attention: sdpa, xformers, eager ...")] = "default",
    auth: Annotated[
        str | None, typer.Option(envvar="LOOM_AUTH", metavar="USER:PASSWORD", help="Ask visitors for this login.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser of this machine.")] = True,
) -> None:
    """Open the studio in a browser."""
    login = parse_login(auth)
    check_binding(host, login)

    from studio.library import AdapterLibrary
    from studio.session import Studio, library_roots
    from studio.ui.launch import launch

    session = Studio(base, AdapterLibrary(library_roots(library or [])), outputs, attention=attention)
    launch(session, host=host, port=port, auth=login, open_browser=browser)


def parse_login(text: str | None) -> tuple[str, str] | None:
    """User and password of a text USER:PASSWORD; raises RequestError."""
    if not text:
        return None
    user, _, password = text.partition(":")
    if not user or not password:
        raise RequestError("the login cannot be read", expected="USER:PASSWORD, neither of them empty")
    return user, password


def check_binding(host: str, login: tuple[str, str] | None) -> None:
    """Raise RequestError when the studio would be open to other machines without a login."""
    if login is None and not is_loopback(host):
        raise RequestError(
            f"the studio will not listen on {host} without a login",
            expected="a loopback address such as 127.0.0.1, or --auth USER:PASSWORD",
            remedy="Set LOOM_AUTH=USER:PASSWORD, and put TLS in front of it",
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; a name other than localhost is taken as reachable from elsewhere."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
