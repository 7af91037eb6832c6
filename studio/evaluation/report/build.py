"""Build a report from folders of pictures that were evaluated and from committed result files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.studio.evaluation.evaluate import Evaluation
from lora_loom.studio.evaluation.report import from_evaluation, from_results
from lora_loom.studio.evaluation.report.content import Entry, Report, Sheet, Table
from lora_loom.studio.evaluation.report.markdown import markdown
from lora_loom.studio.evaluation.report.page import page

SAMPLES = 8  # pictures of each cell that are shown
FULL_SHEETS = 12  # cells beyond which each shows fewer


def build(
    evaluations: Mapping[str, Evaluation],
    results: Mapping[str, Mapping[str, Any]],
    *,
    title: str,
    facts: Sequence[tuple[str, str]] = (),
    command: str = "",
    samples: int = SAMPLES,
) -> Report:
    """The content of a report about evaluated folders and result files, each by its name."""
    entries: list[Entry] = []
    findings: list[str] = []
    sheets: list[Sheet] = []
    tables: list[Table] = []
    notes: dict[str, None] = {}
    several = len(evaluations) > 1
    for name, found in evaluations.items():
        entries += from_evaluation.entries_of(found, name if several else "")
        findings += from_evaluation.findings_of(found)
        shown = samples if len(found.cells) <= FULL_SHEETS else max(1, samples * FULL_SHEETS // len(found.cells))
        sheets += from_evaluation.sheets_of(found, shown)
        notes |= dict.fromkeys((*found.pictures.remarks, *_warnings(found)))
    for held in results.values():
        entries += from_results.entries_of(held["rows"])
        tables += from_results.other_tables(held["rows"])
    return Report(
        title=title,
        entries=tuple(entries),
        facts=tuple(facts),
        findings=tuple(findings),
        tables=tuple(tables),
        sheets=tuple(sheets),
        notes=tuple(notes),
        command=command,
    )


def write(report: Report, path: Path) -> tuple[Path, Path]:
    """Write NAME.html and NAME.md beside it, each whole or not at all."""
    texts = {path: page(report), path.with_suffix(".md"): markdown(report)}
    for target, text in texts.items():
        with atomic_file(target) as file:
            file.write(text.encode())
    return path, path.with_suffix(".md")


def _warnings(found: Evaluation) -> list[str]:
    """What results warn of and what was refused, with how they were measured."""
    lines: dict[str, None] = {}
    for cell, results in found.results.items():
        for result in results:
            how = ", ".join(part for part in (result.extractor, result.resizer) if part)
            lines |= dict.fromkeys(f"{result.metric}: {warning}" for warning in result.warnings)
            lines |= {f"{result.metric}: {result.variant}{f', seen through {how}' if how else ''}": None}
        lines |= {f"{r.metric} of {cell.label} is not given: {r.error}": None for r in found.refusals if r.cell == cell}
    return list(lines)
