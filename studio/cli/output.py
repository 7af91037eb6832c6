"""What commands print: JSON for machines on standard output, words for people, errors on standard error."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from lora_loom.pipelines.errors import LoomError, LoomWarning

Force = Annotated[bool, typer.Option("--force", help="Load what fits of a LoRA that is for another base.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, errors included.")]


def print_json(data: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def print_error(error: LoomError, *, as_json: bool, kind: str = "") -> None:
    """The error as `{"error": {...}}` on standard output, or as sentences on standard error."""
    if as_json:
        print_json({"error": error.to_dict() | ({"type": kind} if kind else {})})
    else:
        typer.echo(f"loom: {plain(str(error))}", err=True)


@contextlib.contextmanager
def warnings_told() -> Iterator[None]:
    """Loom's own warnings as a line each on standard error, such as of a LoRA that acts only in part."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", LoomWarning)
        elsewhere = warnings.showwarning

        def tell(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, LoomWarning):
                typer.echo(f"loom: {plain(str(message))}", err=True)
            else:
                elsewhere(message, category, *where, **more)

        warnings.showwarning = tell
        yield


def plain(text: str) -> str:
    """`text` without the control characters that a terminal would obey; it may come from a file."""
    return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")
