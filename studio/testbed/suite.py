"""PocketCompose as work for `loom batch`: a prompt file with what a judge should see, and a suite over it."""

import json
from pathlib import Path
from typing import Any

from lora_loom.studio.testbed.sets import LoraSet, as_row, sets_of, single_sets

CONTROL_METHOD = "merge"  # with no LoRA or one, every method draws the same


def rows(sizes: list[int], sets: int, seeds: int, control_seeds: int, single_scenes: int) -> list[dict[str, Any]]:
    """The rows of the prompt file: the sets, for every method of the suite, and the controls, for one.

    A control's `metadata` says which it is: `base` without LoRAs, `alone` with one of the set, `own` one LoRA on its
    own prompt. What a control is expected to show stays what its prompt asks for.
    """
    found: list[dict[str, Any]] = []
    for asked in sets_of("test", sizes, sets):
        found.append(as_row(asked, asked.seeds(seeds)))
        found.append(_control(asked, "base", [], asked.seeds(control_seeds)))
        found += [_control(asked, "alone", [name], asked.seeds(control_seeds)) for name in asked.members]
    found += [
        _control(asked, "own", list(asked.members), asked.seeds(control_seeds)) for asked in single_sets(single_scenes)
    ]
    return found


def write(
    out: Path,
    *,
    methods: str,
    k: str,
    sets: int,
    seeds: int,
    steps: int,
    guidance: float,
    control_seeds: int,
    single_scenes: int,
    picture_seconds: float,
) -> None:
    """Write `prompts.jsonl` and `suite.toml` into the folder `out`, and print how many pictures they ask for."""
    held = rows([int(each) for each in k.split(",")], sets, seeds, control_seeds, single_scenes)
    names = methods.split(",")
    out.mkdir(parents=True, exist_ok=True)
    (out / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held), encoding="utf-8")
    (out / "suite.toml").write_text(
        f"""# PocketCompose: {sets} sets of each k with {seeds} fixed seeds, and its controls.
# Made by `python -m lora_loom.studio.testbed suite`; the sets are frozen in studio/testbed/sets.json.
name = "pocketcompose"
base_model = "pocket"
prompts = "prompts.jsonl"
methods = {json.dumps(names)}
picture_seconds = {picture_seconds}

[request]
num_inference_steps = {steps}
guidance_scale = {guidance}
""",
        encoding="utf-8",
    )
    pictures = sum(len(row["seeds"]) * (1 if "method" in row else len(names)) for row in held)
    passes = sum(len(row["seeds"]) * _passes(row, names) for row in held)
    print(json.dumps({"pictures": pictures, "picture_passes": passes, "rows": len(held)}))


def _control(asked: LoraSet, kind: str, names: list[str], seeds: list[int]) -> dict[str, Any]:
    row = as_row(asked, seeds)
    row |= {"id": "|".join((kind, asked.name, *names)), "method": CONTROL_METHOD}
    row["loras"] = [{"name": name, "weight": 1.0} for name in names]
    row["metadata"] = {**row["metadata"], "control": kind}
    return row


def _passes(row: dict[str, Any], methods: list[str]) -> int:
    """Denoiser passes per step over the methods, for an estimate of the time."""
    if "method" in row:
        return 1
    return sum(row["metadata"]["k"] if method in ("composite", "cmlora") else 1 for method in methods)
