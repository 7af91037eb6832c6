"""`loom generate`: draw pictures, or make one again from its own file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import SettingValue
from lora_loom.studio.cli.method_flags import with_method_flags
from lora_loom.studio.cli.output import AsJson, print_json


@with_method_flags
def command(
    words: Annotated[str | None, typer.Argument(metavar="PROMPT", help="What to draw.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The same as an option. It may hold <lora:name:strength>.")] = None,
    negative: Annotated[str | None, typer.Option(help="What to keep out of the picture.")] = None,
    lora: Annotated[
        list[str] | None, typer.Option(metavar="NAME:STRENGTH", help="A LoRA of the library; repeatable.")
    ] = None,
    linear: Annotated[
        bool, typer.Option("--linear", help="Strengths are shares of each LoRA's effect, by `loom calibrate`.")
    ] = False,
    lora_blocks: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:GROUP=FACTOR,...", help="Strength by groups of layers: fox:style=0.5,structure=0."),
    ] = None,
    lora_curve: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:AT=FACTOR,...", help="Strength over the run, from 0 to 1: fox:0=0,0.3=1."),
    ] = None,
    lora_region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PLACE[:PROMPT]",
            help="Where it acts: a box (left, top, right, bottom in shares: fox:0,0,0.5,1) or a mask file.",
        ),
    ] = None,
    lora_exempt: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Takes no part in the fusion: acts in every pass at its strength."),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="How LoRAs are fused: `loom methods` explains them (merge).")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Picture k of a run is drawn from seed + k, from k = 0 (0).")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoising steps (20).")] = None,
    guidance: Annotated[float | None, typer.Option(help="How strictly the prompt is followed (3).")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="In pixels (the base model's own size).")] = None,
    count: Annotated[int | None, typer.Option(help="Number of pictures (1).")] = None,
    base: Annotated[str | None, typer.Option(help="Base model: a name, hub id, folder or file (pocket).")] = None,
    scheduler: Annotated[str | None, typer.Option(help="default, ddim, dpm++, euler, unipc ...")] = None,
    attention: Annotated[str | None, typer.Option(help="What computes attention: sdpa, xformers, eager ...")] = None,
    source: Annotated[
        Path | None, typer.Option("--from", metavar="PNG", help="Make this picture again; other options vary it.")
    ] = None,
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Where to save; several become NAME-1.png, NAME-2.png ...")
    ] = None,
    influence: Annotated[
        bool,
        typer.Option("--influence/--no-influence", help="Record how much each LoRA changed; about a tenth more work."),
    ] = True,
    as_json: AsJson = False,
    *,
    flags: Mapping[tuple[str, str], SettingValue],
) -> None:
    """Draw pictures with LoRAs. The same request gives the same pixels on the same machine."""
    from lora_loom.studio.cli import drawing
    from lora_loom.studio.cli.request_options import asked_for
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.records.record import read_record
    from lora_loom.studio.session import Studio, library_roots

    if words is not None and prompt is not None:
        raise RequestError("the prompt was given twice", remedy="Give it as an argument or with --prompt")
    drawing.check_out(out)
    options = {
        "prompt": words if prompt is None else prompt,
        "negative_prompt": negative,
        "lora": lora,
        "lora_blocks": lora_blocks,
        "lora_curve": lora_curve,
        "lora_region": lora_region,
        "lora_exempt": lora_exempt,
        "method": method,
        "seed": seed,
        "num_inference_steps": steps,
        "guidance_scale": guidance,
        "size": size,
        "num_images_per_prompt": count,
        "base_model": base,
        "scheduler": scheduler,
    }
    given = {name: value for name, value in options.items() if value is not None}
    record = read_record(source) if source else None
    request = asked_for(record and drawing.start_of_variation(record), given, flags, setting or [])
    studio = Studio(
        request.base_model,
        AdapterLibrary(library_roots(library or [])),
        attention=attention or (record.attention if record else "default"),
        influence=influence,
    )
    if linear:
        request = drawing.by_effect(studio, request, record)
    if record is None:
        generations = drawing.draw(studio, request, save=out is None)
    elif given or flags or setting or attention:
        generations = drawing.draw_variation(studio, record, request, save=out is None)
    else:
        generations = drawing.draw_again(studio, record)
        out = out or studio.output_dir / f"seed{record.seed}-again.png"
    if out is not None:
        generations = drawing.save_as(generations, out)
    if as_json:
        print_json({"pictures": [drawing.account(generation) for generation in generations]})
    else:
        for generation in generations:
            typer.echo(generation.path)
