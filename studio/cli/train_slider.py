"""`loom train slider`: a LoRA whose strength is linear in what it changes, and plain LoRAs at settings of it."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.cli.calibrate import prompts_for
from lora_loom.studio.cli.output import AsJson, plain, print_json


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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Teach a LoRA's ranks to follow a slider evenly. The method lion uses it; other tools see the plain LoRA."""
    from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter
    from lora_loom.pipelines.adapters.write import save_adapter
    from lora_loom.pipelines.training.slider import train_slider
    from lora_loom.pipelines.weight_space.rank_slider import HEADER_KEY
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.session import Studio, library_roots

    files = {s: out.with_stem(f"{out.stem}-at-{s:g}") for s in at or []}
    _check_free([out, *files.values()], overwrite=overwrite)
    studio = Studio(base, AdapterLibrary(library_roots(library or [])))
    card = studio.library.find(lora)
    adapter = load_adapter(card.path, name=card.name, target=BaseTarget.from_pipeline(studio.pipeline))
    adapter.check_additive()
    asked = prompts_for(card, prompt or [], pictures, base)
    with _progress(steps) as shown:
        trained = train_slider(
            studio.pipeline, adapter, asked, steps=steps, learning_rate=learning_rate, seed=seed, on_step=shown
        )
    kept = {key: value for key, value in adapter.metadata.items() if key.startswith("modelspec.") and "hash" not in key}
    save_adapter(trained.adapter, out, metadata={**kept, HEADER_KEY: trained.slider.to_header()})
    for s, file in files.items():
        save_adapter(trained.slider.applied(trained.adapter, s), file, metadata=kept)
    if as_json:
        written = [str(path) for path in (out, *files.values())]
        print_json({"paths": written, "error_of_strength": trained.plain, "error_of_slider": trained.error})
        return
    typer.echo(plain(f"{out}: {trained.error:.1%} away from linear, where the strength alone is {trained.plain:.1%}"))
    for file in files.values():
        typer.echo(plain(str(file)))


def _check_free(files: list[Path], *, overwrite: bool) -> None:
    for file in files:
        if file.suffix != ".safetensors":
            raise OutputError("the LoRA needs a file name", expected="one ending in .safetensors", found=str(file))
        if file.exists() and not overwrite:
            raise OutputError(f"{file} exists", remedy="Choose another name, or --overwrite")


@contextlib.contextmanager
def _progress(steps: int) -> Any:
    from tqdm import tqdm

    with tqdm(total=steps, file=sys.stderr, disable=None, unit="step") as bar:

        def show(step: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.5f}", refresh=False)
            bar.update(step - bar.n)

        yield show
