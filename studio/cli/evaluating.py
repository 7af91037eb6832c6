"""Measuring for the command line: reading the sets, a progress bar, the document, and tables for a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.cli.output import plain

if TYPE_CHECKING:
    from lora_loom.studio.evaluation.compare import Comparison
    from lora_loom.studio.evaluation.evaluate import Evaluation
    from lora_loom.studio.evaluation.picture_set import PictureSet


def measure(
    folder: Path,
    metrics: str = "",
    reference: Path | None = None,
    *,
    extractor: str,
    by: Sequence[str] | None,
    only: Sequence[str],
    any_size: bool,
    cache: Path | None,
) -> Evaluation:
    """Evaluate a folder with a progress bar on standard error; names, extractors and metadata are checked first."""
    from tqdm import tqdm

    from lora_loom.studio.evaluation.evaluate import ask, evaluate, fitting
    from lora_loom.studio.evaluation.feature_cache import FeatureCache, default_cache
    from lora_loom.studio.evaluation.pictures import read_pictures

    named = [name.strip() for name in metrics.split(",") if name.strip()]
    asked = ask(named, extractor) if named else []
    chosen = matching(read_pictures(folder), only)
    against = None if reference is None else read_pictures(reference)
    asked = asked or ask(fitting(chosen, against, extractor), extractor)
    with (
        FeatureCache(cache or default_cache()) as features,
        tqdm(file=sys.stderr, disable=None, unit="picture", leave=False) as bar,
    ):

        def on_pictures(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        return evaluate(chosen, asked, against, by=by, any_size=any_size, cache=features, on_pictures=on_pictures)


def matching(pictures: PictureSet, only: Sequence[str]) -> PictureSet:
    """The pictures whose metadata has all of KEY=VALUE; raises EvaluationError if none has."""
    from lora_loom.studio.evaluation.cells import plain as as_key

    for condition in only:
        key, equals, value = condition.partition("=")
        if not equals:
            raise EvaluationError(f"{condition!r} is no condition", expected="KEY=VALUE, such as method=merge")
        kept = pictures.where(lambda sample, key=key, value=value: str(as_key(sample.row.get(key))) == value)
        if not len(kept):
            values = sorted({str(as_key(picture.sample.row.get(key))) for picture in pictures.pictures})
            raise EvaluationError(
                f"no picture in {pictures.path} has {key} {value}", expected=f"one of {', '.join(values[:12])}"
            )
        pictures = kept
    return pictures


def document(found: Evaluation, command: str) -> dict[str, Any]:
    """The evaluation as JSON: command, commit, versions, and one row for each group and measure."""
    from lora_loom.studio.results import commit
    from lora_loom.studio.versions import package_versions

    return {
        "command": command,
        "commit": commit(),
        "versions": package_versions(),
        "pictures": len(found.pictures),
        "reference": None if found.reference is None else len(found.reference),
        "remarks": list(found.pictures.remarks),
        "rows": found.rows(),
        "refused": [
            {**refusal.cell.keys, "metric": refusal.metric, "error": refusal.error.to_dict()}
            for refusal in found.refusals
        ],
    }


def write_json(held: dict[str, Any], path: Path) -> None:
    with atomic_file(path) as file:
        file.write((json.dumps(held, indent=1, allow_nan=False) + "\n").encode())


def written_report(
    sources: Sequence[Path],
    out: Path,
    *,
    title: str,
    command: str,
    samples: int,
    measuring: Mapping[str, Any],
    results_file: Path | None = None,
) -> tuple[Path, Path]:
    """Evaluate the folders, read the result files, and write the page, the Markdown and the rows about them."""
    from lora_loom.studio.evaluation.report.build import build, write
    from lora_loom.studio.evaluation.report.from_results import read_results
    from lora_loom.studio.evaluation.report.rows import rows_of
    from lora_loom.studio.results import commit
    from lora_loom.studio.versions import package_versions

    results = {path.stem: read_results(path) for path in sources if path.suffix == ".json"}
    evaluations = {str(path): measure(path, **measuring) for path in sources if path.suffix != ".json"}
    pictures = sum(len(found.pictures) for found in evaluations.values())
    versions = package_versions()
    facts = [
        ("pictures", f"{pictures:,}") if pictures else ("results", ", ".join(results)),
        ("commit", " ".join(dict.fromkeys(str(held.get("commit", "")) for held in results.values())) or commit()),
        ("Loom", versions.get("lora-loom", "unknown")),
        ("torch", versions.get("torch", "unknown")),
    ]
    named = title or f"Evaluation of {', '.join(path.stem or path.name for path in sources)}"
    report = build(evaluations, results, title=named, facts=facts, command=command, samples=samples)
    if results_file is not None:
        held = {"command": command, "commit": commit(), "versions": versions, "rows": rows_of(report)}
        write_json(held, results_file)
    return write(report, out)


def results_table(found: Evaluation) -> None:
    """Print the results, and below them what has to be said about them."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column, side in (("group", "left"), ("metric", "left"), ("value", "right"), ("95 % interval", "left")):
        table.add_column(column, justify=side)  # pyright: ignore[reportArgumentType]
    table.add_column("n", justify="right")
    notes: dict[str, None] = dict.fromkeys(found.pictures.remarks)
    for cell, results in found.results.items():
        for result in results:
            name = f"{result.metric} ({result.variant})" if result.variant else result.metric
            table.add_row(
                plain(cell.label), name, number(result.value), interval(result.ci_low, result.ci_high), str(result.n)
            )
            notes |= dict.fromkeys(f"{result.metric}: {warning}" for warning in result.warnings)
    _console().print(table)
    for note in notes:
        Console(stderr=True, soft_wrap=True).print(f"note: {plain(note)}", markup=False, highlight=False)


def comparison_table(comparisons: Sequence[Comparison]) -> None:
    """Print the differences, and whether each is more than chance."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("metric", "A", "B", "B - A", "95 % interval", "n", ""):
        table.add_column(column)
    for each in comparisons:
        verdict = "significant" if each.significant else "not significant" if each.ci_low is not None else "no interval"
        p_value = "" if each.p_value is None else f", p = {each.p_value:.2g}"
        table.add_row(
            f"{each.metric} ({each.variant})" if each.variant else each.metric,
            number(each.a),
            number(each.b),
            number(each.difference),
            interval(each.ci_low, each.ci_high),
            str(each.n),
            verdict + p_value,
        )
    _console().print(table)


def agreement_table(rows: Sequence[Mapping[str, Any]], people: Sequence[Mapping[str, Any]]) -> None:
    """Print how far a judge agrees with people, and people with one another."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("concept", "", "value", "95 % interval", "n", "kappa"):
        table.add_column(column)
    for row in rows:
        kappa = number(row["kappa"]) if "kappa" in row else ""
        ends = interval(row["ci_low"], row["ci_high"])
        table.add_row(row["concept"], row["what"], number(row["value"]), ends, str(row["n"]), kappa)
    for row in people:
        table.add_row(row["people"], "agreement", number(row["value"]), "", str(row["n"]), number(row["kappa"]))
    _console().print(table)


def _console() -> Any:
    """As wide as the terminal; into a file or pipe, wide enough for any row."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 200)


def number(value: float) -> str:
    return f"{value:.4g}"


def interval(low: float | None, high: float | None) -> str:
    return "none" if low is None or high is None else f"{low:.4g} to {high:.4g}"
