"""`loom train slider`: a LoRA whose strength is linear in what it changes, and plain LoRAs at settings of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.cli.calibrate import prompts_for
from lora_loom.studio.cli.output import AsJson, plain, print_json
from lora_loom.studio.cli.training_progress import check_free, run_folder, shown_progress


def slider(
    lora: Annotated[str, typer.Argument(metavar="NAME", help="A LoRA of the library.")],
    out: Annotated[Path, typer.Option(help="The LoRA with the slider to write, NAME.safetensors.")],
    at: Annotated[
        list[float] | None, typer.Option(metavar="S", help="Also write NAME-at-S, a plain LoRA; repeatable.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Training steps.")] = 200,
    learning_rate: Annotated[float, typer.Option(min=1e-6, max=1.0, help="Of the curves.")] = 0.02,
    pictures: Annotated[int, typer.Option(min=2, max=1024, help="Drawings to learn from and to check with.")] = 8,
    prompt: Annotated[
        list[str] | None, typer.Option(help="What to draw; repeatable (made of the trigger words).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    base: Annotated[str, typer.Option(help="Base model: a name, hub id, folder or file.")] = "pocket",
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    save_every: Annotated[int, typer.Option(min=0, help="Steps between two checkpoints; 0 only when stopped.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run of the same settings.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there, or a stopped run.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Teach a LoRA's ranks to follow a slider evenly. The method lion uses it; other tools see the plain LoRA.

    The losses are in NAME.training, where Ctrl-C leaves what --resume goes on with.
    """
    from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter
    from lora_loom.pipelines.adapters.write import save_adapter
    from lora_loom.pipelines.training.slider import train_slider
    from lora_loom.pipelines.training.slider_objective import kept_metadata, save_with_slider
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.session import Studio, library_roots

    files = {s: out.with_stem(f"{out.stem}-at-{s:g}") for s in at or []}
    _check_free([out, *files.values()], resume=resume, overwrite=overwrite)
    studio = Studio(base, AdapterLibrary(library_roots(library or [])))
    card = studio.library.find_or_add(lora)
    adapter = load_adapter(card.path, name=card.name, target=BaseTarget.from_pipeline(studio.pipeline))
    adapter.check_additive()
    asked = prompts_for(card, prompt or [], pictures, base)
    with shown_progress(steps, as_json=as_json) as show:
        trained = train_slider(
            studio.pipeline,
            adapter,
            asked,
            steps=steps,
            learning_rate=learning_rate,
            seed=seed,
            on_step=show,
            resume=resume,
            run_folder=run_folder(out),
            save_every=save_every,
        )
    save_with_slider(trained.adapter, trained.slider, out)
    for s, file in files.items():
        save_adapter(trained.slider.applied(trained.adapter, s), file, metadata=kept_metadata(adapter))
    if as_json:
        written = [str(path) for path in (out, *files.values())]
        print_json({"paths": written, "error_of_strength": trained.plain, "error_of_slider": trained.error})
        return
    typer.echo(plain(f"{out}: {trained.error:.1%} away from linear, where the strength alone is {trained.plain:.1%}"))
    for file in files.values():
        typer.echo(plain(str(file)))


def _check_free(files: list[Path], *, resume: bool, overwrite: bool) -> None:
    for file in files:
        if file.suffix != ".safetensors":
            raise OutputError("the LoRA needs a file name", expected="one ending in .safetensors", found=str(file))
        check_free(file, resume=resume, overwrite=overwrite)
