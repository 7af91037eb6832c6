"""Fuzzing from a terminal: `python -m lora_loom.studio.bench.fuzz --reader 2000000 --metadata 500000 --work FOLDER`."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.bench.fuzz.campaign import Leg, legs_of, rows_of, run
from lora_loom.studio.bench.fuzz.parsers import PARSERS
from lora_loom.studio.results import write_results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reader", type=int, default=10_000, help="inputs of the reader of LoRA files")
    parser.add_argument("--metadata", type=int, default=10_000, help="inputs of all other parsers together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes at once")
    parser.add_argument("--leg", type=int, default=100_000, help="most inputs of one process")
    parser.add_argument("--work", type=Path, required=True, help="folder for what has been done, and for faults")
    parser.add_argument("--only-report", action="store_true", help="write the results of what has been done so far")
    parser.add_argument("--results", type=Path, default=None, help="folder of fuzzing.json, by default docs/results")
    options = parser.parse_args()
    legs = legs_of(PARSERS, {"metadata": options.metadata, "reader": options.reader}, options.seed, options.leg)

    def told(leg: Leg) -> None:
        print(f"{leg.parser} seed {leg.seed}: {leg.inputs:,} inputs done", file=sys.stderr, flush=True)

    try:
        rows = rows_of(legs, options.work) if options.only_report else run(legs, options.work, options.workers, told)
    except LoomError as error:
        print(error, file=sys.stderr)
        return 2
    asked = [f"--{name} {getattr(options, name)}" for name in ("reader", "metadata", "seed", "leg")]
    module = "python -m lora_loom.studio.bench.fuzz"
    write_results("fuzzing", f"{module} {' '.join(asked)} --work {shlex.quote('FOLDER')}", rows, options.results)
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
