"""`loom bench`: measure Loom against PEFT and diffusers on this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from lora_loom.studio.cli.output import AsJson, print_json

group = typer.Typer(help="Measure Loom against PEFT and diffusers on this machine.", no_args_is_help=True)


@group.callback()
def _options() -> None:
    """Keep the name of the suite as a command of its own, also while there is one suite."""


@group.command("runtime")
def runtime(
    as_json: AsJson = False,
    quick: Annotated[bool, typer.Option("--quick", help="Take fewer samples: less time, wider intervals.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Write the results there, too: docs/results/bench_runtime.json.")
    ] = None,
) -> None:
    """Count and time several adapters at once: kernels, memory, graphs, calls, switching, loading.

    Counts are exact. Times are process CPU time on one thread, as ratios to PEFT or to the base in the same process,
    with 95 % intervals. A line that is missed is reported, not an error.
    """
    _run("runtime", as_json, quick, out)


@group.command("batch")
def batch(
    as_json: AsJson = False,
    quick: Annotated[bool, typer.Option("--quick", help="Take fewer samples: less time, wider intervals.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Write the results there, too: docs/results/bench_batch.json.")
    ] = None,
) -> None:
    """Time the batch engine against the bare loop over the same pipeline, both in this process."""
    _run("batch", as_json, quick, out)


@group.command("methods")
def methods(
    as_json: AsJson = False,
    quick: Annotated[bool, typer.Option("--quick", help="Take fewer samples: less time, wider intervals.")] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="JSON", help="Write the results there, too: docs/results/bench_methods.json.")
    ] = None,
) -> None:
    """Count what fusion methods cost on the true shapes of large bases."""
    _run("methods", as_json, quick, out)


def _run(suite: str, as_json: bool, quick: bool, out: Path | None) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
    from lora_loom.pipelines.atomic_file import atomic_file
    from lora_loom.studio.bench.suites import run

    document = run(suite, quick=quick, on_row=lambda row: typer.echo(_line(row), err=as_json))
    if out is not None:
        with atomic_file(out) as file:
            file.write((json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    if as_json:
        print_json(document)


def _line(row: dict[str, Any]) -> str:
    """A row in words: id, value with interval, anchor, line, verdict, what."""
    interval = "" if row["n"] == 1 else f" [{row['ci_low']:g}, {row['ci_high']:g}]"
    anchor = "" if row["anchor"] is None else f", anchor {row['anchor']:g}"
    line = "" if row["line"] is None else f", {row['bound']} {row['line']:g}: {'holds' if row['holds'] else 'MISSED'}"
    return f"{row['id']:12}{row['value']:g}{interval}{anchor}{line}\n{'':12}{row['what']}"
