"""Kills from a terminal: `python -m lora_loom.studio.bench.kills` writes docs/results/kills.json."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from lora_loom.studio.bench.kills import of_batch, of_studio
from lora_loom.studio.results import write_results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studio-kills", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=60)
    parser.add_argument("--batch-kills", type=int, default=70)
    parser.add_argument("--pictures", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=None, help="folder of kills.json, by default docs/results")
    options = parser.parse_args()

    def told(what: str) -> Callable[[int], None]:
        return lambda count: print(f"{what}: {count} killed", file=sys.stderr, flush=True)

    asked = " ".join(
        f"--{key} {getattr(options, key.replace('-', '_'))}"
        for key in ("studio-kills", "jobs", "batch-kills", "pictures", "seed")
    )
    with tempfile.TemporaryDirectory(prefix="loom-kills-") as name:
        folder = Path(name)
        batch = of_batch.measure(
            folder / "batch",
            kills=options.batch_kills,
            pictures=options.pictures,
            seed=options.seed,
            on_kill=told("workers of a batch"),
        )
        studio = of_studio.measure(
            folder / "studio",
            kills=options.studio_kills,
            jobs=options.jobs,
            seed=options.seed,
            on_kill=told("studios"),
        )
    rows = [{"part": "batch", **batch}, {"part": "studio", **studio}]
    write_results("kills", f"python -m lora_loom.studio.bench.kills {asked}", rows, options.results)
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
