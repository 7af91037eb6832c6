"""`loom library`: which LoRAs there are, and what is in a LoRA file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lora_loom.studio.cli.output import AsJson, plain, print_json
from lora_loom.studio.cli.receipt_text import receipt_lines

if TYPE_CHECKING:
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.library.card import AdapterCard

group = typer.Typer(help="Show the LoRAs of the library, or one LoRA file.", no_args_is_help=True)

Folders = Annotated[list[Path] | None, typer.Option("--library", help="A folder of LoRAs; repeatable.")]


@group.command("list")
def list_cards(
    words: Annotated[list[str] | None, typer.Argument(metavar="WORDS", help="Only LoRAs with these words.")] = None,
    category: Annotated[str, typer.Option(help="Only LoRAs of this category.")] = "",
    library: Folders = None,
    as_json: AsJson = False,
) -> None:
    """List the LoRAs of the library."""
    from lora_loom.studio.library.search import search

    cards = search(_library(library).cards(), " ".join(words or []), category)
    if as_json:
        print_json({"adapters": [_card(card) for card in cards]})
        return
    for card in cards:
        typer.secho(plain(card.name), bold=True, nl=False)
        notes = (card.category, card.base_family, f"rank {card.rank}" if card.rank else "", card.trigger, card.problem)
        typer.echo(plain("  " + ", ".join(note for note in notes if note)))


@group.command("show")
def show(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A .safetensors file, or a name of the library.")],
    base: Annotated[str | None, typer.Option(help="Match the file against this base model.")] = None,
    library: Folders = None,
    as_json: AsJson = False,
) -> None:
    """Show the receipt of a LoRA: its dialect, base family, ranks and scale, and with --base what fits."""
    from lora_loom.pipelines.adapters.load import BaseTarget, inspect_adapter

    path = Path(file) if Path(file).exists() or file.endswith(".safetensors") else _library(library).find(file).path
    target = None
    if base is not None:
        from lora_loom.studio.session import Studio

        target = BaseTarget.from_pipeline(Studio(base).pipeline)
    receipt = inspect_adapter(path, target)
    if as_json:
        print_json(receipt.to_dict())
    else:
        for line in receipt_lines(receipt):
            typer.echo(plain(line))


def _library(folders: list[Path] | None) -> AdapterLibrary:
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.session import library_roots

    return AdapterLibrary(library_roots(folders or []))


def _card(card: AdapterCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "title": card.title,
        "category": card.category,
        "triggers": list(card.triggers),
        "description": card.description,
        "tags": list(card.tags),
        "base_family": card.base_family,
        "rank": card.rank,
        "strength": card.strength,
        "path": str(card.path),
        "size_bytes": card.size_bytes,
        "sha256": card.sha256,
        "problem": card.problem,
        "remarks": list(card.remarks),
    }
