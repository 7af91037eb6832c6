"""`loom doctor`: how LoRAs will get along, told from their weights before anything is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lora_loom.studio.cli.output import AsJson, Force, plain, print_json, warnings_told

if TYPE_CHECKING:
    from lora_loom.pipelines.forecast.report import Report

_COLOURS = {"green": "green", "amber": "yellow", "red": "red"}


def command(
    loras: Annotated[
        list[str], typer.Argument(metavar="NAME:STRENGTH...", help="LoRAs of the library, or .safetensors files.")
    ],
    base: Annotated[str, typer.Option(help="Base model that the LoRAs are for.")] = "pocket",
    against_base: Annotated[
        bool, typer.Option("--against-base", help="Look at the base's weights too: what is overridden, safe strengths.")
    ] = False,
    page: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write the report as a page.")] = None,
    library: Annotated[list[Path] | None, typer.Option(help="A folder of LoRAs; repeatable.")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Tell how LoRAs will get along, and what may help."""
    from lora_loom.pipelines.atomic_file import atomic_file
    from lora_loom.studio.forecast.diagnosis import diagnose
    from lora_loom.studio.forecast.report_page import page as page_of
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.session import Studio, library_roots

    studio = Studio(base, AdapterLibrary(library_roots(library or [])), force=force)
    with warnings_told():
        report = diagnose(studio, loras, against_base=against_base)
    if page is not None:
        with atomic_file(page) as file:
            file.write(page_of(report).encode())
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lora_loom.studio.forecast.report_page import recipe

    console = Console(highlight=False)
    for pair in report.pairs:
        console.print(Text(plain(pair.sentence), style=f"bold {_COLOURS[pair.level]}"))
        for each in pair.findings:
            if each.sentence != pair.sentence:
                console.print(Text(f"  {plain(each.sentence)}"))
        strip = Text("  ")
        for stage in pair.strip:
            strip.append("█", style=_COLOURS[stage.level])
        a, b = pair.dominance
        console.print(strip.append(plain(f"  {pair.a} {a:.0%} : {b:.0%} {pair.b}")))
    if report.pairs:
        table = Table("pair", "cosine", "written", "driven", "both", "log2 ratio", "spread")
        for pair in report.pairs:
            s = pair.whole
            ratio, spread = ("" if each is None else f"{each:+.2f}" for each in (s.log2_ratio, s.log2_spread))
            shares = (f"{x:.2f} {y:.2f}" for x, y in ((s.out_ab, s.out_ba), (s.in_ab, s.in_ba), (s.both_ab, s.both_ba)))
            table.add_row(Text(plain(f"{pair.a}, {pair.b}")), f"{s.cosine:+.3f}", *shares, ratio, spread)
        console.print(table)
    alone = Table("LoRA", "strength", "layers", "rank", "effective", "norm", "on text", "intruders", "safe up to")
    for each in report.adapters:
        beside = ("", "") if each.base is None else (str(each.base.intruders), f"{each.base.safe_strength or '-'}")
        figures = (f"{each.effective_rank:.1f}", f"{each.norm:.3g}", f"{each.text_norm:.3g}")
        alone.add_row(Text(plain(each.name)), f"{each.strength:g}", str(each.layers), str(each.rank), *figures, *beside)
    console.print(alone)
    said = [f.sentence for each in report.adapters for f in each.findings]
    if report.together is not None:
        said += [each.sentence for each in report.together.findings]
        if (risk := report.together.loss_risk) is not None:
            said.append(f"About {risk:.0%} of pictures would lack a concept ({report.together.loss_risk_from}).")
    for sentence in (*said, *report.notes):
        console.print(Text(plain(sentence)))
    for remedy in report.remedies:
        console.print(Text(plain(f"{remedy.title}: {recipe(remedy)}"), style="bold"))
        effects = "; ".join(f"{each.what} {each.before:.2f} to {each.after:.2f}" for each in remedy.effects)
        console.print(Text(plain(f"  {remedy.why} {effects}")))
