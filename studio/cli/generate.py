"""`loom generate`: draw pictures, or make one again from its own file."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer

from lora_loom.pipelines.errors import BaseModelError, RequestError
from lora_loom.pipelines.request import SettingValue
from lora_loom.pipelines.requests.prompt_syntax import prompt_notices
from lora_loom.studio.cli.method_flags import with_method_flags
from lora_loom.studio.cli.output import AsJson, Force, plain, print_json, warnings_told
from lora_loom.studio.cli.request_flags import with_request_flags


@with_method_flags
@with_request_flags
def command(
    words: Annotated[str | None, typer.Argument(metavar="PROMPT", help="What to draw.")] = None,
    prompt: Annotated[str | None, typer.Option(help="The same as an option. It may hold <lora:name:strength>.")] = None,
    linear: Annotated[
        bool, typer.Option("--linear", help="Strengths are shares of each LoRA's effect, by `loom calibrate`.")
    ] = False,
    asked: Mapping[str, Any] = MappingProxyType({}),
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; repeatable.")
    ] = None,
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
    force: Force = False,
    as_json: AsJson = False,
    *,
    flags: Mapping[tuple[str, str], SettingValue],
) -> None:
    """Draw pictures with LoRAs. The same request gives the same pixels on the same machine."""
    from lora_loom.pipelines.bases import defaults_of
    from lora_loom.studio.cli import drawing
    from lora_loom.studio.cli.request_options import asked_for, with_files
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.records.extensions import not_understood
    from lora_loom.studio.records.record import read_record
    from lora_loom.studio.session import Studio, library_roots

    if words is not None and prompt is not None:
        raise RequestError("the prompt was given twice", remedy="Give it as an argument or with --prompt")
    drawing.check_out(out)
    written = words if prompt is None else prompt
    known = AdapterLibrary(library_roots(library or []))
    asked = with_files(asked, known)
    given = {**({} if written is None else {"prompt": written}), **asked}
    record = read_record(source) if source else None
    if record and (strange := not_understood(record.extensions)):
        typer.echo(f"A newer Loom recorded more than this one knows: {plain(', '.join(strange))}.", err=True)
    if record is not None:
        given = drawing.on_opened_base(record, given)
    for notice in prompt_notices(written or ""):
        typer.echo(plain(notice), err=True)
    if record is None:
        with suppress(BaseModelError):  # told when the base is opened
            given = {**defaults_of(given.get("base_model", "pocket")).of_request(), **given}
    request = asked_for(record and drawing.start_of_variation(record), given, flags, setting or [])
    if force:  # the picture says so, and can be made again without the flag
        request = replace(request, adapters=tuple(replace(each, forced=True) for each in request.adapters))
    studio = Studio(
        request.base_model,
        known,
        attention=attention or (record.attention if record else "default"),
        influence=influence,
        force=force,
    )
    if linear:
        request = drawing.by_effect(studio, request, record)
    with warnings_told():
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
