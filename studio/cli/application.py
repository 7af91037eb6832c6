"""The `loom` application: every module of this folder that defines a command becomes one.

A module NAME.py with a function `command` gives `loom NAME`; one with a Typer app `group` gives `loom NAME SUBCOMMAND`.
Modules with neither serve the others. Commands import what is heavy inside their functions: `loom --help` imports all
of these modules and must answer at once.
"""

from __future__ import annotations

from importlib import metadata
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lora_loom.pipelines.errors import LoomError
from lora_loom.pipelines.plugins import Registry
from lora_loom.studio.cli.output import print_error

ERROR_EXIT_CODE = 2  # the same as for a wrong option

COMMANDS: Registry[ModuleType] = Registry(
    "command",
    folder="lora_loom.studio.cli",
    group="loom.commands",
    offered=lambda module: [module] if hasattr(module, "group") or hasattr(module, "command") else [],
    name_of=lambda part, module: module,
)


class LoomGroup(TyperGroup):
    """Ends with exit code 2 on a LoomError or wrong usage: a message, or JSON if the command was given --json."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = args[: args.index("--")] if "--" in args else args
        ctx.meta["loom.json"] = "--json" in options
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        as_json = ctx.meta["loom.json"]
        try:
            return super().invoke(ctx)
        except LoomError as error:
            print_error(error, as_json=as_json)
            raise typer.Exit(ERROR_EXIT_CODE) from error
        except typer.TyperException as error:
            if not as_json:
                raise
            print_error(LoomError(error.format_message()), as_json=True, kind="UsageError")
            raise typer.Exit(ERROR_EXIT_CODE) from error


def build() -> typer.Typer:
    """The application with all commands."""
    app = typer.Typer(
        cls=LoomGroup,
        name="loom",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, module in COMMANDS.parts.items():
        if hasattr(module, "group"):
            app.add_typer(module.group, name=name)
        else:
            app.command(name)(module.command)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"loom {metadata.version('lora-loom')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Compose several LoRAs in one picture."""
