"""The pages of the methods get their figures: the block `<!-- pocketcompose: NAME -->` of each docs/methods/NAME.md.

A block holds what a method did on PocketCompose beside merge, and the strip of pictures that the report wrote for it;
the block `every_method` of docs/pocketcompose.md holds the table of all.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lora_loom.studio.results import RESULTS, results_folder

OVERVIEW = "every_method"
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


def overview(rows: Rows, results: str) -> str:
    """Joint success of every method and reference by the number of LoRAs, with what a picture costs."""
    about = next((row for row in rows if row.get("what") == "about"), {})
    names = list(dict.fromkeys(row["method"] for row in rows if row.get("what") in ("method", "reference")))
    sizes = sorted({row["k"] for name in names for row in _by_size(rows, name).values()})
    lines = [
        f"| method | {' | '.join(f'{k} LoRAs' for k in sizes)} | pictures of each | passes per step at {sizes[0]} |",
        "|---|" + "---|" * (len(sizes) + 2),
    ]
    for name in names:
        mine = _by_size(rows, name)
        cells = [f"{mine[k]['joint_success']:.2f} ({mine[k]['ci_low']:.2f} to {mine[k]['ci_high']:.2f})" for k in sizes]
        counts = sorted({row["n"] for row in mine.values()})
        count = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
        lines.append(f"| `{name}` | {' | '.join(cells)} | {count} | {mine[sizes[0]]['passes_per_step']:.2f} |")
    lines += [
        "",
        f"Joint success by the {about['judge']} judge with its interval, {about['sampling']}. "
        f"{about['note'][:1].upper()}{about['note'][1:]}.",
    ]
    lines += ["", *_line(rows), *_pairs(rows)]
    sheets = [f"![sets of {k} LoRAs by every method]({RESULTS.name}/{results}_k{k}.png)" for k in sizes]
    return "\n".join([*lines, "", *sheets])


def _line(rows: Rows) -> list[str]:
    """Where the line to beat is met and where not."""
    lines: list[str] = []
    for row in rows:
        if row.get("what") == "line":
            rival = f"`{row['against']}`, the best of merge, switch and composite"
            beside = (
                f"{rival}, shows all concepts in no picture"
                if row["ratio"] is None
                else f"it has {row['ratio']:.2f} times the joint success of {rival}"
            )
            lines.append(
                f"- With {row['k']} LoRAs the best method of at most two forwards a step is `{row['method']}`: "
                f"{beside}. Asked was {row['line']}: {'met' if row['holds'] else 'not met'}."
            )
    return lines


def _pairs(rows: Rows) -> list[str]:
    """Every method against the best of merge, switch and composite on the same sets and seeds, over k >= 3."""
    pairs = [row for row in rows if row.get("what") == "pair" and row["k"] == ">=3" and row["best_rival"] and row["n"]]
    if not pairs:
        return []
    lines = [
        "",
        f"Against `{pairs[0]['against']}` on the same sets and seeds, three LoRAs and more:",
        "",
        "| method | pairs | times the joint success | difference | only it | only the other | p |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(pairs, key=lambda row: -row["difference"]):
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        low, high = row["ci_low"], row["ci_high"]
        interval = "" if low is None else f" ({low:+.3f} to {high:+.3f})"
        lines.append(
            f"| `{row['method']}` | {row['n']} | {ratio} | {row['difference']:+.3f}{interval} | {row['only_method']} | "
            f"{row['only_rival']} | {row['mcnemar_p']:.2g} |"
        )
    return lines


def filled(text: str, rows: Rows, results: str) -> str:
    """The page with every block written anew."""

    def write(found: re.Match[str]) -> str:
        name = found.group(1)
        figures = overview(rows, results) if name == OVERVIEW else block(name, rows, results)
        return f"<!-- pocketcompose: {name} -->\n{figures}\n<!-- /pocketcompose -->"

    return BLOCK.sub(write, text)


def pages() -> Iterable[Path]:
    docs = results_folder().parent
    return [docs / "pocketcompose.md", *sorted((docs / "methods").glob("*.md"))]


def write(results: str) -> None:
    rows = read_rows(results)
    for page in pages():
        page.write_text(filled(page.read_text(), rows, results))


def _by_size(rows: Rows, method: str) -> dict[int, dict[str, Any]]:
    wanted = (row for row in rows if row.get("what") in ("method", "reference") and row.get("method") == method)
    return {row["k"]: row for row in wanted if "joint_success" in row and "seconds" in row}
