"""Committed results: `docs/results/NAME.json` = command, commit, versions, rows; and the intervals that rows carry."""

import json
import math
import os
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import OutputError
from lora_loom.studio.versions import package_versions

Row = dict[str, str | int | float | bool | None]
PROJECT = "lora-loom"
ROOT = Path(__file__).parents[1]  # of a checkout; installed from a wheel it is a folder of the environment
RESULTS = ROOT / "docs" / "results"


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion; (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = successes / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n)), min(1.0, (centre + spread) / (1 + z * z / n))


def proportion(outcomes: Sequence[bool], *, line: float | None, below: bool = False, **keys: str | int | float) -> Row:
    """A row for a share of successes, with Wilson's interval; `line` is to be reached, or not reached if `below`."""
    value = sum(outcomes) / len(outcomes)
    low, high = wilson(sum(outcomes), len(outcomes))
    row: Row = {
        **keys,
        "value": round(value, 4),
        "ci_low": round(low, 4),
        "ci_high": round(high, 4),
        "n": len(outcomes),
    }
    row["line"] = line
    row["holds"] = None if line is None else (value < line if below else value >= line)
    return row


def in_checkout() -> bool:
    """Whether this code runs from its own source tree, whose pyproject.toml says that it is Loom's."""
    try:
        held = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return held.get("project", {}).get("name") == PROJECT


def commit() -> str:
    """The commit the code is at, with `+` when files differ from it; `unknown` outside a checkout of Loom's own."""
    try:
        if not in_checkout() or Path(_git("rev-parse", "--show-toplevel")).resolve() != ROOT.resolve():
            return "unknown"  # installed, or unpacked inside a repository of something else
        return _git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*asked: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # nobody else's repository
    run = subprocess.run(("git", "-C", str(ROOT), *asked), capture_output=True, text=True, check=True, env=own)
    return run.stdout.strip()


def results_folder(folder: Path | None = None) -> Path:
    """Where results are written: the folder asked for, else that of Loom's checkout; OutputError outside of one."""
    if folder is not None:
        return folder
    if not in_checkout():
        raise OutputError(
            "there is no checkout of Loom to write results into",
            expected=f"{PROJECT} in {ROOT / 'pyproject.toml'}",
            remedy="Name a folder (--results DIR, or `folder` in Python), or run this in a clone of Loom",
        )
    return RESULTS


def write_results(name: str, command: str, rows: Sequence[Row], folder: Path | None = None) -> Path:
    """Write the rows to NAME.json of `results_folder`, whole or not at all, and print them."""
    path = results_folder(folder) / f"{name}.json"
    held = {"command": command, "commit": commit(), "versions": package_versions(), "rows": list(rows)}
    with atomic_file(path) as file:
        file.write((json.dumps(held, indent=1) + "\n").encode())
    for row in rows:
        print(json.dumps(row))
    return path
