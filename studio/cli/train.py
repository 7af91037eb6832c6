"""`loom train`: a LoRA from a folder of pictures or a concept of the pocket world, or a gate for several LoRAs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lora_loom.pipelines.errors import SettingError, TrainingError
from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.pipelines.training.settings import LoraDescription, LoraTraining
from lora_loom.studio.cli.gate_training import gate
from lora_loom.studio.cli.output import AsJson, plain, print_json
from lora_loom.studio.cli.train_slider import slider
from lora_loom.studio.cli.training_flags import with_training_flags
from lora_loom.studio.cli.training_progress import check_free, shown_progress

if TYPE_CHECKING:
    from lora_loom.pipelines.training.loop import TrainingStep

# What teaches the small pocket base a concept; for larger bases the defaults of LoraTraining are the usual ones.
CONCEPT_SETTINGS: Mapping[str, Any] = {
    "rank": 4,
    "targets": "full",
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "steps": 140,
    "batch_size": 16,
    "caption_dropout": 0.1,
    "sample_guidance": 3.0,
}

group = typer.Typer(help="Train LoRAs, sliders, and gates that compose LoRAs.", no_args_is_help=True)
group.command("slider")(slider)


@group.command("lora")
@with_training_flags
def lora(
    out: Annotated[Path, typer.Option(help="The LoRA to write, NAME.safetensors.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of pictures, captions in .txt files beside them or in metadata.jsonl.")
    ] = None,
    concept: Annotated[
        str, typer.Option(help="Or a concept of the pocket world, such as owlet; sets what teaches it.")
    ] = "",
    count: Annotated[int, typer.Option(min=1, help="How many pictures of the concept to draw.")] = 48,
    caption: Annotated[str, typer.Option(help="Caption of pictures that have none.")] = "",
    base: Annotated[str, typer.Option(help="Base model: a name, hub id, folder or file.")] = "pocket",
    title: Annotated[str, typer.Option(help="Title in the library (default: the file's name).")] = "",
    category: Annotated[str, typer.Option(help="Category in the library.")] = "",
    description: Annotated[str, typer.Option(help="What the LoRA draws.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag for the library; repeatable.")] = None,
    author: Annotated[str, typer.Option(help="Who made it.")] = "",
    licence: Annotated[str, typer.Option(help="Its licence.")] = "",
    preferred_weight: Annotated[float, typer.Option(help="Strength to recommend.")] = 1.0,
    start: Annotated[Path | None, typer.Option(help="A LoRA of the same rank and targets to begin with.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run of the same settings.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a LoRA or a stopped run.")] = False,
    as_json: AsJson = False,
    *,
    settings: Mapping[str, Any],
) -> None:
    """Train a LoRA. Beside NAME.safetensors come NAME.json and NAME.preview.png; samples are in NAME.training."""
    about = LoraDescription(title, category, description, tuple(tag or ()), author, licence, preferred_weight)
    if (data is None) == (not concept):
        raise TrainingError("there is not one thing to train on", expected="either --data FOLDER or --concept NAME")
    check_free(out, resume=resume, overwrite=overwrite)
    if concept:
        about, settings = _described(concept, about), {**CONCEPT_SETTINGS, "trigger": concept, **settings}
    chosen = LoraTraining(**settings)
    from lora_loom.pipelines.training.items import read_folder
    from lora_loom.pipelines.training.lora import train_lora

    items: Iterable[Any] = read_folder(data, default_caption=caption) if data else _drawn(concept, count, chosen.seed)
    with shown_progress(chosen.steps, as_json=as_json) as show:

        def on_step(step: TrainingStep) -> None:
            show(step.step, step.loss)

        result = train_lora(chosen, items, base, out, about=about, on_step=on_step, resume=resume, start=start)
    if as_json:
        print_json(result.to_dict())
        return
    typer.echo(f"{plain(str(out))}: {result.num_parameters} parameters, {result.num_pictures} pictures")
    typer.echo(f"{result.steps} steps, {result.seconds:.0f} s, loss {result.final_loss:.4f}")
    if result.overlong_captions:
        typer.echo(f"{result.overlong_captions} captions are longer than this base reads; their ends were not used")


def _described(name: str, about: LoraDescription) -> LoraDescription:
    """The description of a pocket concept, except for what was given."""
    from lora_loom.studio.pocket.concepts import CONCEPTS

    if name not in CONCEPTS:
        raise SettingError(f"there is no concept {plain(name)!r}", expected=f"one of {', '.join(CONCEPTS)}")
    concept = CONCEPTS[name]
    return LoraDescription(
        title=about.title or concept.title,
        category=about.category or concept.category,
        description=about.description or concept.description,
        tags=about.tags or concept.tags,
        author=about.author,
        licence=about.licence,
        preferred_weight=about.preferred_weight,
    )


def _drawn(concept: str, count: int, seed: int) -> Iterable[Any]:
    from lora_loom.studio.builders.pictures import SIZE
    from lora_loom.studio.pocket.concepts import training_set

    return training_set(concept, count, seed, SIZE)


group.command("gate")(with_training_flags(gate, GateTraining))
