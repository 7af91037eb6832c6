"""Committed results: `docs/results/NAME.json` = command, commit, versions, rows; and the intervals that rows carry."""

import json
import math
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.studio.versions import package_versions

Row = dict[str, str | int | float | bool | None]
RESULTS = Path(__file__).parents[1] / "docs" / "results"


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


def commit() -> str:
    """The commit the code is at, with `+` when files differ from it; `unknown` outside a checkout."""
    try:
        run = ("git", "-C", str(RESULTS.parents[1]), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
        return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_results(name: str, command: str, rows: Sequence[Row]) -> Path:
    """Write the rows to `docs/results/NAME.json`, whole or not at all, and print them."""
    path = RESULTS / f"{name}.json"
    held = {"command": command, "commit": commit(), "versions": package_versions(), "rows": list(rows)}
    with atomic_file(path) as file:
        file.write((json.dumps(held, indent=1) + "\n").encode())
    for row in rows:
        print(json.dumps(row))
    return path
