"""`loom train gate`: a gate for the fusion method `gated`, for one base, from several LoRAs at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.studio.cli.output import AsJson, plain, print_json
from lora_loom.studio.cli.training_progress import check_free, shown_progress

if TYPE_CHECKING:
    from lora_loom.pipelines.training.gate_data import GateItem
    from lora_loom.pipelines.training.loop import TrainingStep
    from lora_loom.studio.library.card import AdapterCard


def gate(
    adapters: Annotated[
        list[str] | None,
        typer.Argument(metavar="LORAS", help="Names of the library, or files. None: all that are for this base."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The gate to write, NAME.safetensors.")] = Path("gate.safetensors"),
    base: Annotated[str, typer.Option(help="Base model: a name, hub id, folder or file.")] = "pocket",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures whose captions name two LoRAs or more by their trigger words."),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, help="Without --data, for the pocket world: how many pictures to draw of each set.")
    ] = 16,
    library: Annotated[list[Path] | None, typer.Option("--library", help="A folder of LoRAs; repeatable.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run of the same settings.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a gate or a stopped run.")] = False,
    as_json: AsJson = False,
    *,
    settings: Mapping[str, Any],
) -> None:
    """Train a gate that lets several LoRAs speak where each matters. Base and LoRAs stay as they are.

    Without --data, the pocket world draws the true pictures of its tuning sets. With --objective teacher the gate
    imitates a slower method at the pictures of --data, whatever they show.
    """
    chosen = GateTraining(**settings)
    check_free(out, resume=resume, overwrite=overwrite)
    cards = _cards(adapters or [], base, library)
    items = _items(cards, chosen, data, count, base)
    from lora_loom.pipelines.training.gate import train_gate

    files = {name: card.path for name, card in cards.items()}
    with shown_progress(chosen.steps, as_json=as_json) as show:

        def on_step(step: TrainingStep) -> None:
            show(step.step, step.loss)

        result = train_gate(chosen, files, items, base, out, on_step=on_step, resume=resume)
    if as_json:
        print_json(result.to_dict())
        return
    typer.echo(f"{plain(str(out))}: {result.num_parameters} parameters, {result.num_pictures} pictures")
    typer.echo(f"{result.num_sets} sets, {result.steps} steps, {result.seconds:.0f} s, loss {result.final_loss:.4f}")


def _cards(names: Sequence[str], base: str, folders: list[Path] | None) -> dict[str, AdapterCard]:
    """The LoRAs by name; without names all of the library that are for this base."""
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.session import library_roots

    files = [Path(name) for name in names if name.endswith(".safetensors")]
    roots = library_roots(folders or [])
    library = AdapterLibrary([*roots, *dict.fromkeys(path.parent for path in files)])
    if not names:
        return {card.name: card for card in library.cards() if card.base_family == "pocket" and not card.problem}
    by_path = {card.path.resolve(): card for card in library.cards()}
    found: dict[str, AdapterCard] = {}
    for name in names:
        card = by_path.get(Path(name).resolve())
        found[Path(name).stem if card else name] = card or library.find(name)
    return found


def _items(
    cards: Mapping[str, AdapterCard], settings: GateTraining, data: Path | None, count: int, base: str
) -> Iterable[GateItem]:
    if data is not None:
        from lora_loom.pipelines.training.gate_items import items_by_trigger
        from lora_loom.pipelines.training.items import read_folder

        triggers = {name: card.trigger for name, card in cards.items()}
        return items_by_trigger(read_folder(data), triggers, mix=settings.objective == "teacher")
    from lora_loom.pipelines.bases import resolve_base
    from lora_loom.studio.pocket.concepts import CONCEPTS
    from lora_loom.studio.testbed.gate_pictures import composed_pictures, side_of, tuning_sets

    if not cards or not set(cards) <= set(CONCEPTS):
        raise SettingError("there are no pictures to train on", expected="--data FOLDER", found=f"base {plain(base)}")
    size = settings.resolution or side_of(Path(resolve_base(base)))
    return composed_pictures(tuning_sets(list(cards)), count, settings.seed, size)
