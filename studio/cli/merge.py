"""`loom merge`: several LoRAs as one file that draws what their fusion draws, with its error written inside."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lora_loom.pipelines.errors import OutputError, RequestError
from lora_loom.pipelines.request import AdapterChoice, SettingValue
from lora_loom.pipelines.requests.prompt_syntax import parse_strength
from lora_loom.studio.cli.method_flags import with_method_flags
from lora_loom.studio.cli.output import AsJson, Force, plain, print_json, warnings_told

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.weight_space.export import Exported
    from lora_loom.studio.session import Studio

NumberFormat = Literal["float16", "bfloat16", "float32"]
STACK = "stack"  # what people call the exact sum when it is written to a file


@with_method_flags
def command(
    loras: Annotated[
        list[str], typer.Argument(metavar="NAME:STRENGTH...", help="LoRAs of the library, or .safetensors files.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The LoRA to write, NAME.safetensors.")],
    method: Annotated[str, typer.Option(help="stack (the exact sum), svd, ties, dare, lego or lion.")] = STACK,
    setting: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting of the method; repeatable.")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Largest rank of the file (as many as there are).")] = None,
    linear: Annotated[
        bool, typer.Option("--linear", help="Strengths are shares of each LoRA's effect, by `loom calibrate`.")
    ] = False,
    text: Annotated[float, typer.Option(help="Strength of the parts on text encoders, times the LoRA's own.")] = 1.0,
    layout: Annotated[Literal["peft", "kohya"], typer.Option("--format", help="Names in the file.")] = "peft",
    number_format: Annotated[NumberFormat, typer.Option("--dtype", help="Number format of the file.")] = "float16",
    base: Annotated[str, typer.Option(help="Base model that the LoRAs are for.")] = "pocket",
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it is there.")] = False,
    force: Force = False,
    as_json: AsJson = False,
    *,
    flags: Mapping[tuple[str, str], SettingValue],
) -> None:
    """Write several LoRAs as one file, and say how far it is from their live fusion."""
    import torch

    from lora_loom.pipelines.adapters.write import save_adapter
    from lora_loom.pipelines.registry import create
    from lora_loom.pipelines.weight_space.export import exported
    from lora_loom.studio.cli.method_flags import chosen_settings
    from lora_loom.studio.cli.request_options import parse_pairs
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.library.responses import by_effect
    from lora_loom.studio.session import Studio, library_roots

    _check_out(out, overwrite=overwrite)
    known = "merge" if method == STACK else method
    settings = chosen_settings(known, flags, parse_pairs(setting or []))
    if method in ("svd", "lego") and rank is not None:
        settings.setdefault("rank", rank)
    studio = Studio(base, AdapterLibrary(library_roots(library or [])))
    with warnings_told():
        choices, adapters = _chosen(studio, loras, force=force)
    if linear:
        choices = by_effect(choices, studio.library)
    result = exported(
        create(known, settings),
        choices,
        adapters,
        name=out.stem,
        rank=rank,
        dtype=getattr(torch, number_format),
        text_strength=text,
    )
    sha256 = save_adapter(
        result.adapter,
        out,
        layout=layout,
        dtype=getattr(torch, number_format),
        metadata=_metadata(result, choices, adapters),
    )
    if as_json:
        print_json({"path": str(out), "sha256": sha256, "method": method, **result.to_dict()})
        return
    typer.echo(plain(f"{out}: {' + '.join(f'{choice.name} {choice.strength:g}' for choice in choices)}, {method}"))
    typer.echo(f"error {result.error:.2%} of the live fusion, which is {result.change:.2%} away from the plain sum")
    for group in result.groups:
        typer.echo(
            f"  {group.component}, {group.group}: {group.layers} layers up to rank {group.rank}, "
            f"error {group.error:.2%}, change {group.change:.2%}"
        )


def _check_out(out: Path, *, overwrite: bool) -> None:
    if out.suffix != ".safetensors":
        raise OutputError("the merged LoRA needs a file name", expected="one ending in .safetensors", found=str(out))
    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists", remedy="Choose another name, or --overwrite")


def _chosen(
    studio: Studio, loras: Sequence[str], *, force: bool
) -> tuple[tuple[AdapterChoice, ...], dict[str, Adapter]]:
    """The choices by name, files under their stems, with the adapters they name; all for the studio's base."""
    from lora_loom.pipelines.adapters.load import BaseTarget, load_adapter

    target = BaseTarget.from_pipeline(studio.pipeline)
    choices: list[AdapterChoice] = []
    adapters: dict[str, Adapter] = {}
    for text in loras:
        choice = parse_strength(text)
        is_file = choice.name.endswith(".safetensors")
        path = Path(choice.name) if is_file else studio.library.find(choice.name).path
        name = path.stem if is_file else choice.name
        if name in adapters:
            raise RequestError(f"{plain(name)} was given twice", remedy="Give it once, with the strengths added up")
        choices.append(replace(choice, name=name))
        adapters[name] = load_adapter(path, name=name, target=target, force=force)
    return tuple(choices), adapters


def _metadata(result: Exported, choices: Sequence[AdapterChoice], adapters: Mapping[str, Adapter]) -> dict[str, str]:
    """The header fields that say what the file was made of and how well it holds it."""
    sources = [
        {"name": choice.name, "strength": choice.strength, "sha256": adapters[choice.name].sha256} for choice in choices
    ]
    triggers = [adapter.metadata.get("modelspec.trigger_phrase", "") for adapter in adapters.values()]
    fields = {
        "merged_from": json.dumps(sources),
        "modelspec.merged_from": ", ".join(adapters),
        "modelspec.trigger_phrase": ", ".join(trigger for trigger in triggers if trigger),
        "loom.recipe": json.dumps(dict(result.recipe), sort_keys=True),
        "loom.merge_error": json.dumps({key: value for key, value in result.to_dict().items() if key != "recipe"}),
    }
    return {key: value for key, value in fields.items() if value}
