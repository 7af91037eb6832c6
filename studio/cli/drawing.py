"""Drawing for the command line: a progress bar, the files to write, and an account of each picture."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.errors import BaseModelError, OutputError, RequestError
from lora_loom.studio.records.record import GenerationRecord, pixels_sha256, save_png

if TYPE_CHECKING:
    from lora_loom.pipelines.generate import StepProgress
    from lora_loom.pipelines.request import GenerationRequest
    from lora_loom.studio.session import Generation, Studio


def check_out(out: Path | None) -> None:
    """Raise OutputError now for a name that could not be written to after drawing."""
    if out is not None and (out.suffix.lower() != ".png" or out.is_dir()):
        raise OutputError(f"{out} cannot hold a picture", expected="a file name that ends in .png")


def start_of_variation(record: GenerationRecord) -> GenerationRequest:
    """What to change to get something like this one picture, without the rest of its run."""
    return replace(record.request, seed=record.seed, num_images_per_prompt=1)


def on_opened_base(record: GenerationRecord, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given beside a picture, once it is settled that the person chose the base: a record never does.

    A picture comes from anywhere, and a base is a folder that is opened or a hub that is asked. Raises BaseModelError
    for one that is neither installed under its name nor given by --base.
    """
    from lora_loom.pipelines.bases import named_bases

    recorded = record.request.base_model
    if "base_model" not in given and recorded not in named_bases():
        raise BaseModelError(
            "the picture was made with a base model that a picture may not open",
            expected=f"--base, or a picture of {' or '.join(named_bases())}",
            found=recorded,
            remedy="If you know and trust that base, name it with --base",
        )
    return {name: value for name, value in given.items() if (name, value) != ("base_model", recorded)}


def by_effect(studio: Studio, request: GenerationRequest, record: GenerationRecord | None) -> GenerationRequest:
    """The request with strengths for the effects that it asks for; a record's own strengths are none."""
    from lora_loom.studio.library.responses import by_effect

    if record is not None and request.adapters == record.request.adapters:
        raise RequestError(
            "--linear reads the strengths of LoRAs that are given",
            found="those of the picture, which are strengths already",
            remedy="Name the LoRAs with --lora.",
        )
    return replace(request, adapters=by_effect(request.adapters, studio.library))


def draw(studio: Studio, request: GenerationRequest, *, save: bool) -> list[Generation]:
    with steps_shown() as on_step:
        return studio.generate(request, on_step, save=save)


def draw_again(studio: Studio, record: GenerationRecord) -> list[Generation]:
    """The recorded picture, pixel for pixel: its whole run is drawn, since neighbours in a batch can move last bits."""
    with steps_shown() as on_step:
        return [studio.reproduce(record, on_step, save=False)[record.image_index]]


def draw_variation(
    studio: Studio, record: GenerationRecord, request: GenerationRequest, *, save: bool
) -> list[Generation]:
    """Pictures of a changed request; the LoRAs that it shares with the record must be the same files."""
    names = {choice.name for choice in request.adapters}
    shared = {name: sha256 for name, sha256 in record.adapter_sha256.items() if name in names}
    changed = replace(record, request=request, adapter_sha256=shared, image_index=0, extensions={})
    with steps_shown() as on_step:
        return studio.reproduce(changed, on_step, save=save)


def save_as(generations: Sequence[Generation], out: Path) -> list[Generation]:
    """The pictures saved to `out`, or to NAME-1.png, NAME-2.png ... if there are several; raises OutputError."""
    paths = [out] if len(generations) == 1 else [out.with_stem(f"{out.stem}-{k + 1}") for k in range(len(generations))]
    return [
        replace(generation, path=save_png(generation.image, generation.record, path))
        for generation, path in zip(generations, paths, strict=True)
    ]


def account(generation: Generation) -> dict[str, Any]:
    """One picture as JSON; `pixels_sha256` is equal for equal pixels, whatever the file."""
    image, record = generation.image, generation.record
    return {
        "path": str(generation.path),
        "seed": record.seed,
        "width": image.width,
        "height": image.height,
        "pixels_sha256": pixels_sha256(image),
        "record": record.to_dict(),
    }


@contextlib.contextmanager
def steps_shown() -> Generator[Callable[[StepProgress], None]]:
    """A progress bar on standard error, if that is a terminal; standard output stays free for the result."""
    from tqdm import tqdm

    _quiet_loading()
    with tqdm(file=sys.stderr, disable=None, unit="step", leave=False) as bar:

        def on_step(progress: StepProgress) -> None:
            bar.total = progress.num_inference_steps
            bar.update(progress.index + 1 - bar.n)

        with contextlib.redirect_stdout(sys.stderr):  # libraries that print while loading would spoil --json
            yield on_step


def _quiet_loading() -> None:
    """Only errors from the libraries that load the base: their bars and hints are about parts, not the picture."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    for logging in (of_diffusers, of_transformers):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
