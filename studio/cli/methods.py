"""`loom methods`: the fusion methods, what each is good for and what can be set."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.registry import methods
from lora_loom.studio.cli.method_flags import flag_name
from lora_loom.studio.cli.output import AsJson, print_json
from lora_loom.studio.settings_form import FormField, form


def command(
    as_json: AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of the README.")] = False,
) -> None:
    """Explain the fusion methods."""
    if as_json:
        print_json({"methods": [describe(method) for method in methods().values()]})
    elif markdown:
        typer.echo(markdown_table())
    else:
        for method in methods().values():
            _print(method)


def describe(method: type[FusionMethod]) -> dict[str, Any]:
    """A method as JSON."""
    return {
        "name": method.name,
        "title": method.title,
        "source": method.source,
        "when_to_use": method.when_to_use,
        "passes_per_step": method.passes_per_step,
        "order_matters": method.order_matters,
        "exact_for_one": method.exact_for_one,
        "settings": [_describe_setting(method.name, entry) for entry in form(method)],
    }


def markdown_table() -> str:
    """The methods as a Markdown table, one row each."""
    lines = [
        "| method | source | choose it when | passes per step | settings |",
        "|---|---|---|---|---|",
    ]
    for method in methods().values():
        flags = " ".join(f"`{flag_name(method.name, entry.name)}`" for entry in form(method))
        cells = (f"`{method.name}`", method.source, method.when_to_use, method.passes_per_step, flags)
        lines.append(f"| {' | '.join(cells)} |".replace("  |", " |"))
    return "\n".join(lines)


def _describe_setting(method: str, entry: FormField) -> dict[str, Any]:
    return {
        "name": entry.name,
        "flag": flag_name(method, entry.name),
        "kind": entry.kind,
        "default": entry.default,
        "minimum": entry.minimum,
        "maximum": entry.maximum,
        "choices": list(entry.choices),
        "help": entry.help,
    }


def _print(method: type[FusionMethod]) -> None:
    passes = f"{method.passes_per_step} pass{'' if method.passes_per_step == '1' else 'es'} per step"
    typer.secho(f"{method.name}  ", bold=True, nl=False)
    typer.echo(f"{method.title}, {method.source}, {passes}")
    typer.echo(f"    {method.when_to_use}")
    for entry in form(method):
        typer.echo(f"    {flag_name(method.name, entry.name)}  {entry.help} Default {entry.default}.")
