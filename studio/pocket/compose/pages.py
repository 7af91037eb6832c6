"""The pages of the methods get their figures: the block `<!-- pocketcompose: NAME -->` of each docs/methods/NAME.md.

A block holds what a method did on PocketCompose beside merge, and the strip of pictures that the report wrote for it.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from studio.results import RESULTS

PAGES = RESULTS.parent / "methods"
BLOCK = re.compile(r"<!-- pocketcompose: (\w+) -->\n.*?<!-- /pocketcompose -->", re.DOTALL)
Rows = list[dict[str, Any]]


def strip_name(results: str, method: str) -> str:
    """File of the pictures of a method, beside the results."""
    return f"{results}_{method}.png"


def read_rows(results: str) -> Rows:
    return json.loads((RESULTS / f"{results}.json").read_text())["rows"]


def block(method: str, rows: Rows, results: str) -> str:
    """The figures of `method` for every size, with those of merge on the same sets and seeds."""
    mine, merge = (_by_size(rows, name) for name in (method, "merge"))
    if not mine:
        return "Not measured on PocketCompose yet."
    lines = [
        "| LoRAs | all concepts shown | merge | pictures | passes per step | seconds of a picture |",
        "|---|---|---|---|---|---|",
    ]
    for k, row in mine.items():
        beside = f"{merge[k]['joint_success']:.2f}" if k in merge else ""
        interval = f"{row['joint_success']:.2f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"
        lines.append(
            f"| {k} | {interval} | {beside} | {row['n']} | {row['passes_per_step']:.2f} | {row['seconds']:.2f} |"
        )
    lines += ["", "By the judge and on the machine that [the results](../pocketcompose.md) name."]
    if (RESULTS / strip_name(results, method)).exists():
        lines += ["", f"![pictures of sets of two to five LoRAs](../results/{strip_name(results, method)})"]
    return "\n".join(lines)


def filled(text: str, rows: Rows, results: str) -> str:
    """The page with every block written anew."""

    def write(found: re.Match[str]) -> str:
        name = found.group(1)
        return f"<!-- pocketcompose: {name} -->\n{block(name, rows, results)}\n<!-- /pocketcompose -->"

    return BLOCK.sub(write, text)


def pages() -> Iterable[Path]:
    return sorted(PAGES.glob("*.md"))


def write(results: str) -> None:
    rows = read_rows(results)
    for page in pages():
        page.write_text(filled(page.read_text(), rows, results))


def _by_size(rows: Rows, method: str) -> dict[int, dict[str, Any]]:
    wanted = (row for row in rows if row.get("what") in ("method", "reference") and row.get("method") == method)
    return {row["k"]: row for row in wanted if "joint_success" in row and "seconds" in row}
