"""`loom studio`: open the studio in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lora_loom.pipelines.errors import RequestError


def command(
    host: Annotated[str, typer.Option(help="Address to listen on; anything but loopback needs --auth.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on (the first free one from 7860).", max=65_535)
    ] = None,
    base: Annotated[str, typer.Option(help="Base model: a name, hub id or folder.")] = "pocket",
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    outputs: Annotated[Path | None, typer.Option(help="Folder for the pictures (outputs).")] = None,
    auth: Annotated[
        str | None, typer.Option(envvar="LOOM_AUTH", metavar="USER:PASSWORD", help="Ask visitors for this login.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser of this machine.")] = True,
) -> None:
    """Open the studio in a browser."""
    login = parse_login(auth)

    from lora_loom.studio.ui.launch import launch

    try:
        launch(host, port, auth=login, base_model=base, library=library or (), output_dir=outputs, open_browser=browser)
    except OSError as error:  # the port is taken, or the address is not this machine's
        where = host if port is None else f"{host}, port {port}"
        raise RequestError(
            f"the studio cannot listen on {where}", found=str(error).splitlines()[0], remedy="Choose another --port"
        ) from error


def parse_login(text: str | None) -> tuple[str, str] | None:
    """User and password of a text USER:PASSWORD, None for none; raises RequestError."""
    if not text:
        return None
    user, _, password = text.partition(":")
    if not user or not password:
        raise RequestError("the login cannot be read", expected="USER:PASSWORD, neither of them empty")
    return user, password
