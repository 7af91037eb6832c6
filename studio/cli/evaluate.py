"""`loom evaluate`: measure pictures, compare two sets, report, and check a judge against people."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lora_loom.pipelines.errors import EvaluationError, OutputError
from lora_loom.studio.cli.output import AsJson, plain, print_error, print_json

REFUSED = 2  # the exit code if a measure that was named could not be given


class DefaultToPictures(TyperGroup):
    """`loom evaluate FOLDER` is `loom evaluate pictures FOLDER`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["pictures", *args]
        return super().parse_args(ctx, args)


group = typer.Typer(cls=DefaultToPictures, help="Measure pictures: `loom evaluate FOLDER`.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Pictures, with metadata.jsonl or not, or .tar shards.")]
Metrics = Annotated[
    str, typer.Option(metavar="NAMES", help="fid,kid ..., each NAME or NAME@EXTRACTOR (all that the pictures allow).")
]
Reference = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Pictures to measure against.")]
Extractor = Annotated[str, typer.Option(metavar="KIND[:SOURCE]", help="What looks at the pictures.")]
Only = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only pictures with this metadata.")]
AnySize = Annotated[bool, typer.Option("--any-size", help="Allow several sizes; each picture is scaled on its own.")]
Cache = Annotated[Path | None, typer.Option(metavar="FILE", help="Where features are kept (the user's cache folder).")]


@group.command("pictures")
def pictures(
    folder: Folder,
    metrics: Metrics = "",
    reference: Reference = None,
    extractor: Extractor = "pocket",
    by: Annotated[
        str, typer.Option(metavar="KEYS", help="Metadata that makes groups, or `none` (what differs of method, k ...).")
    ] = "",
    only: Only = None,
    any_size: AnySize = False,
    cache: Cache = None,
    out: Annotated[Path | None, typer.Option(metavar="JSON", help="Write the results there, too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the pictures of a folder: `loom evaluate FOLDER` is enough."""
    from lora_loom.studio.cli.evaluating import document, measure, results_table, write_json

    found = measure(
        folder,
        metrics,
        reference,
        extractor=extractor,
        by=None if not by else [] if by == "none" else by.split(","),
        only=only or [],
        any_size=any_size,
        cache=cache,
    )
    held = document(found, shlex.join(["loom", *sys.argv[1:]]))
    if out is not None:
        write_json(held, out)
    if as_json:
        print_json(held)
    else:
        results_table(found)
        for refusal in found.refusals:
            print_error(refusal.error, as_json=False)
    if metrics and found.refusals:
        raise typer.Exit(REFUSED)


@group.command("compare")
def compare_sets(
    first: Annotated[Path, typer.Argument(metavar="A", help="The pictures that are compared with.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The pictures in question; may be the same folder.")],
    metrics: Metrics = "",
    reference: Reference = None,
    extractor: Extractor = "pocket",
    a: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only these pictures of A.")] = None,
    b: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only these pictures of B.")] = None,
    any_size: AnySize = False,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Compare two sets, paired by prompt and seed: B minus A with its interval."""
    from lora_loom.studio.cli.evaluating import comparison_table, measure
    from lora_loom.studio.evaluation.compare import compare_all

    parts: dict[str, Any] = {"extractor": extractor, "by": [], "any_size": any_size, "cache": cache}
    found = [
        measure(folder, metrics, reference, only=only or [], **parts) for folder, only in ((first, a), (second, b))
    ]
    if refused := [refusal.error for each in found for refusal in each.refusals] if metrics else []:
        raise refused[0]
    comparisons = compare_all(*(next(iter(each.results.values())) for each in found))
    if as_json:
        print_json({"a": str(first), "b": str(second), "rows": [each.to_dict() for each in comparisons]})
    else:
        comparison_table(comparisons)


@group.command("report")
def report(
    sources: Annotated[
        list[Path], typer.Argument(metavar="FOLDER|JSON ...", help="Folders of pictures, and result files.")
    ],
    out: Annotated[Path, typer.Option(metavar="HTML", help="The page; NAME.md comes beside it.")] = Path("report.html"),
    title: Annotated[str, typer.Option(help="Title of the page.")] = "",
    results: Annotated[Path | None, typer.Option(metavar="JSON", help="Write the table as results, too.")] = None,
    metrics: Metrics = "",
    reference: Reference = None,
    extractor: Extractor = "pocket",
    only: Only = None,
    samples: Annotated[int, typer.Option(min=0, help="Random pictures that each group shows.")] = 8,
    any_size: AnySize = False,
    cache: Cache = None,
    as_json: AsJson = False,
) -> None:
    """Write a page and Markdown: tables with intervals and cost, plots, controls, random pictures with verdicts."""
    from lora_loom.studio.cli.evaluating import written_report

    if out.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"{out} cannot hold a page", expected="a file name that ends in .html")
    page, beside = written_report(
        sources,
        out,
        title=title,
        command=shlex.join(["loom", *sys.argv[1:]]),
        samples=samples,
        results_file=results,
        measuring={"metrics": metrics, "reference": reference, "extractor": extractor, "by": None}
        | {"only": only or [], "any_size": any_size, "cache": cache},
    )
    if as_json:
        print_json({"html": str(page), "markdown": str(beside)})
    else:
        typer.echo(page)
        typer.echo(beside)


@group.command("labels")
def labels(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The pictures that were labelled.")],
    book: Annotated[
        Path, typer.Option("--labels", envvar="LOOM_LABELS", metavar="FOLDER", help="Where labels.jsonl is.")
    ] = Path("outputs/labels"),
    judge: Annotated[str, typer.Option(help="development or sealed.")] = "development",
    as_json: AsJson = False,
) -> None:
    """Compare a judge with the labels that people gave in the studio's Label tab: agreement, kappa, what it misses."""
    from lora_loom.studio.cli.evaluating import agreement_table
    from lora_loom.studio.evaluation.labels.agreement import between_people, readings, rows_of
    from lora_loom.studio.evaluation.labels.book import LabelBook
    from lora_loom.studio.evaluation.metrics.joint_success import JointSuccess
    from lora_loom.studio.evaluation.metrics.joint_success_sealed import SealedJointSuccess
    from lora_loom.studio.evaluation.pictures import read_pictures

    judges = {"development": JointSuccess, "sealed": SealedJointSuccess}
    if judge not in judges:
        raise EvaluationError(f"there is no judge {judge!r}", expected=" or ".join(judges))
    answers = LabelBook(book).answers()
    if not answers:
        raise EvaluationError(f"{book} holds no labels", remedy="Label pictures in the studio's Label tab")
    found = readings(answers, read_pictures(folder), judges[judge]().look)
    rows, people = rows_of(found), between_people(answers)
    if as_json:
        print_json({"judge": judge, "pictures": len({r.pixels_sha256 for r in found}), "rows": rows, "people": people})
    else:
        agreement_table(rows, people)


@group.command("metrics")
def list_metrics(as_json: AsJson = False) -> None:
    """List the metrics and the feature extractors."""
    from lora_loom.studio.evaluation.registry import extractors, metrics

    described = [
        {
            "name": kind.name,
            "title": kind.title,
            "source": kind.source,
            "needs": [
                what
                for what, needed in (
                    ("reference", kind.needs_reference),
                    ("prompts", kind.needs_prompts),
                    ("expected", kind.needs_expected),
                )
                if needed
            ],
            "extractors": list(kind.extractor_kinds) if kind.needs_features else [],
        }
        for kind in metrics().values()
    ]
    looking = [
        {"kind": kind.kind, "title": kind.title, "source": kind.source_help, "unavailable": kind().available()[1]}
        for kind in extractors().values()
    ]
    if as_json:
        print_json({"metrics": described, "extractors": looking})
        return
    for entry in described:
        typer.secho(f"{entry['name']}  ", bold=True, nl=False)
        needs = f"; needs {' and '.join(entry['needs'])}" if entry["needs"] else ""
        typer.echo(f"{entry['title']}, {entry['source']}{needs}")
    typer.echo("")
    for entry in looking:
        typer.secho(f"{entry['kind']}{':SOURCE' if entry['source'] else ''}  ", bold=True, nl=False)
        source = f"; SOURCE is {entry['source']}" if entry["source"] else ""
        missing = f" (unavailable: {entry['unavailable']})" if entry["unavailable"] and not entry["source"] else ""
        typer.echo(plain(f"{entry['title']}{source}{missing}"))
