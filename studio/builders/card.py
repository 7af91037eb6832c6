"""Write the documents of the pocket world from its results: `python -m lora_loom.studio.builders.card [--check]`.

The model card goes to the base's folder, the page `docs/pocket.md` beside the results. With `--check` nothing is
written and a difference is an error.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from lora_loom.studio.pocket import base_path
from lora_loom.studio.pocket.concepts import CONCEPTS
from lora_loom.studio.pocket.world.scene import FACTORS, HELD
from lora_loom.studio.results import RESULTS, results_folder


def rows_of(name: str) -> list[dict[str, Any]]:
    return json.loads((RESULTS / f"{name}.json").read_text())["rows"]


def figure(row: dict[str, Any]) -> str:
    """`0.912 (0.88 to 0.93)`."""
    return f"{row['value']:.3f} ({row['ci_low']:.2f} to {row['ci_high']:.2f})"


def verdict(row: dict[str, Any]) -> str:
    if row["line"] is None:
        return ""
    sign = "<" if row.get("lora") == "without" or row.get("what") == "cross-talk" else "≥"
    return f"{sign} {row['line']} {'holds' if row['holds'] else '**missed**'}"


def base_table() -> str:
    rows = rows_of("pocket_base")
    by_key = {(row.get("judge"), row["split"], row["factor"]): row for row in rows}
    factors = list(dict.fromkeys(row["factor"] for row in rows if row["split"] == "seen"))
    lines = [
        "| factor | seen | line | withheld pairs | line | seen, sealed judge | withheld, sealed judge |",
        "|---|" + "---|" * 6,
    ]
    for factor in factors:
        mine = [by_key["development", split, factor] for split in ("seen", "withheld")]
        sealed = [by_key["sealed", split, factor] for split in ("seen", "withheld")]
        cells = [cell for row in mine for cell in (figure(row), verdict(row))]
        cells += [f"{figure(row)} {verdict(row)}".rstrip() for row in sealed]
        lines.append(f"| {factor.replace('+', ' + ')} | {' | '.join(cells)} |")
    psnr = next(row for row in rows if row["split"] == "fresh renders")
    counts = (by_key["development", split, "all"]["n"] for split in ("seen", "withheld"))
    return "\n".join(
        [
            *lines,
            "",
            "n = {} prompts of seen combinations, {} of withheld pairs, fixed seeds.".format(*counts),
            f"The autoencoder's round trip of {psnr['n']} fresh renders: PSNR {psnr['value']:.1f} dB "
            f"({psnr['ci_low']:.1f} to {psnr['ci_high']:.1f}), {verdict(psnr)}.",
        ]
    )


def judge_table(judge: str) -> str:
    rows = [row for row in rows_of("pocket_judges") if row["judge"] == judge]
    accuracy = [row for row in rows if row["what"] == "accuracy"]
    shifts = list(dict.fromkeys(row["shift"] for row in accuracy))
    by_key = {(row["shift"], row["factor"]): row for row in accuracy}
    first, *others = shifts
    lines = [f"| factor | {first} | line | {' | '.join(others)} |", "|---|---|---|" + "---|" * len(others)]
    for factor in dict.fromkeys(row["factor"] for row in accuracy):
        cells = [figure(by_key[first, factor]), verdict(by_key[first, factor])]
        lines.append(f"| {' | '.join((factor, *cells, *(figure(by_key[s, factor]) for s in others)))} |")
    counts = ", ".join(f"{by_key[s, 'all']['n']} ({s})" for s in shifts)
    abstained = [row for row in rows if row["what"] == "abstention"]
    strangers = ", ".join(f"{row['factor']} {figure(row)}" for row in abstained)
    error = ", ".join(f"{row['factor']} {row['value']:.3f}" for row in rows if row["what"] == "calibration error")
    return "\n".join(
        [
            *lines,
            "",
            f"n = {counts}. It says 'other' of strangers, {abstained[0]['n']} of each kind: {strangers}. Expected "
            f"calibration error on fresh renders: {error}.",
        ]
    )


def agreement_table() -> str:
    rows = [row for row in rows_of("pocket_judges") if row["shift"].startswith("generated")]
    same = {(row["shift"], row["judge"], row["factor"]): row for row in rows if row["what"] == "agreement"}
    lines = ["| pictures | between | factor | kappa | line | the same verdict | n |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        if row["what"] == "kappa":
            equal = figure(same[row["shift"], row["judge"], row["factor"]])
            lines.append(
                f"| {row['shift']} | {row['judge']} | {row['factor']} | {figure(row)} | {verdict(row)} | {equal} "
                f"| {row['n']} |"
            )
    return "\n".join(lines)


def geometry_table() -> str:
    rows = [row for row in rows_of("pocket_judges") if row["judge"] == "geometry"]
    lines = ["| what | of | share | n |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {r['what']} | {r['factor']} | {figure(r)} | {r['n']} |" for r in rows)])


def encoder_table() -> str:
    lines = ["| what | shift | share | line | n |", "|---|---|---|---|---|"]
    rows = rows_of("pocket_encoder")
    return "\n".join(
        [*lines, *(f"| {r['what']} | {r['shift']} | {figure(r)} | {verdict(r)} | {r['n']} |" for r in rows)]
    )


def adapters_table() -> str:
    lines = ["| LoRA | category | shows | with it | line | without it | line |", "|---|---|---|---|---|---|---|"]
    by_name: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows_of("pocket_adapters"):
        by_name.setdefault(row["adapter"], {})[row["lora"]] = row
    for name, pair in by_name.items():
        on, off = pair["with"], pair["without"]
        about = CONCEPTS[name].description
        lines.append(
            f"| `{name}` | {on['category']} | {about} | {figure(on)} | {verdict(on)} | {figure(off)} | {verdict(off)} |"
        )
    return "\n".join(
        [*lines, "", f"n = {on['n']} pictures each, {on['steps']} steps, the same prompts and seeds with and without."]
    )


def forecast_table() -> str:
    lines = ["| predicts | from | LoRAs | value | line | held-out sets |", "|---|---|---|---|---|---|"]
    for row in rows_of("forecast"):
        if row["what"] != "about":
            lines.append(
                f"| {row['what']} | {row['predictor']} | {row['k'] or 'any'} | {figure(row)} | {verdict(row)} "
                f"| {row['n']} |"
            )
    return "\n".join(lines)


def linearity_table() -> str:
    lines = ["| LoRA or set | what | moved | value | line | n |", "|---|---|---|---|---|---|"]
    for row in rows_of("lion_linearity"):
        of = row.get("adapter") or f"{row['set']}, {row['attribute']}"
        moved = row["swept"] if row["what"] == "cross-talk" else f"{row['slider']} slider"
        lines.append(f"| {of} | {row['what']} | {moved} | {figure(row)} | {verdict(row)} | {row['n']} |")
    return "\n".join(lines)


def training_summary() -> str:
    """A line for every training of the logs: a refinement begins its own clock."""
    lines = []
    for name, title in (("autoencoder", "Autoencoder"), ("base", "U-Net and text encoder")):
        log = [json.loads(line) for line in (base_path() / f"{name}_log.jsonl").read_text().splitlines()]
        refined = [entry for entry in log if entry.get("phase") == "refined"]
        lines.append(_trained(title, [entry for entry in log if entry not in refined], "one GPU"))
        lines += [_trained(f"{title}, refined", run, "a CPU") for run in _runs(refined)]
    return "\n".join(lines)


def _runs(log: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The log cut where the steps begin anew."""
    runs: list[list[dict[str, Any]]] = []
    for entry in log:
        if not runs or entry["step"] <= runs[-1][-1]["step"]:
            runs.append([])
        runs[-1].append(entry)
    return runs


def _trained(title: str, log: Sequence[dict[str, Any]], where: str) -> str:
    last = log[-1]
    psnr = f", PSNR {last['psnr']:.1f} dB on fresh pictures" if "psnr" in last else ""
    shown = sum(a["pictures"] for a, b in zip(log, [*log[1:], {"step": 0}], strict=True) if b["step"] < a["step"])
    return f"- {title}: {shown:,} pictures in {last['seconds'] / 60:.1f} minutes on {where}{psnr}."


def card() -> str:
    values = "\n".join(
        f"- {f}: {', '.join(v)}" + (f"; kept for LoRAs: {', '.join(HELD[f])}" if f in HELD else "")
        for f, v in FACTORS.items()
    )
    return f"""---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# The pocket base

A latent diffusion model of the pocket world in the folder layout of Stable Diffusion 1.x: 128 x 128 pixels from
16 x 16 latents of 8 channels, v-prediction with zero terminal SNR, trained from nothing on pictures Loom draws itself.
It is for a first minute and for measuring fusion methods with a known truth; it knows {len(CONCEPTS)} concepts only
through LoRAs.

## What it knows

{values}

## How it was trained

{training_summary()}

The commands, in order: `python -m lora_loom.studio.builders.autoencoder`, `.base`, `.ship`, `.refine_autoencoder`,
`.judge`, `.measure_base`, all with `--work DIR`; each resumes, and `studio/builders/rebuild.sh` makes all but the
refinement on one accelerator. The logs lie beside this card. The decoder was trained on beside the U-Net, on latents of
an encoder some 200 steps younger than the first shipped one. Later both were refined together, with the encoder held
near the one whose latents the U-Net knows (`drift` in the log: the distance over the spread of the latents); the second
refinement had more blocks (`--encoder-blocks 1 1 3 7 --decoder-blocks 5 3 2 1`), the third more again (`1 1 4 10` and
`8 5 3 1`), with `--old` naming the autoencoder of the first.

## What it can do, by the judge

{base_table()}

## What it cannot do

Words outside its vocabulary mean nothing to it. Left and right are learnt late and judged by nobody here. One subject a
picture.
"""


def page() -> str:
    return f"""# The pocket world

Pictures with known factors, a diffusion model trained on them, LoRAs for values it never saw, and a judge that knows
what it sees. All figures come from `docs/results/`; after each stands its 95 % interval.

## The judges

`studio/pocket/judge.py`, right on pictures of this world and on nothing else. The development judge is for tuning:

{judge_table("development")}

The sealed judge has another architecture, seed and training pictures, and is for published tables alone:

{judge_table("sealed")}

How far they agree on pictures that the base drew, and each with the geometric check where that says something:

{agreement_table()}

The geometric check (`studio/pocket/geometry.py`) is not learnt: silhouettes of near colours, periods of patterns. On
fresh renders:

{geometry_table()}

## The encoder

`studio/pocket/encoder.py` puts pictures and captions into one space. Its training was cut short after 200 steps of 768
pictures. How often a picture's own caption comes first:

{encoder_table()}

## The base

{base_table()}

![random samples of seen combinations](results/pocket_base_seen.png)

Random samples of withheld pairs, combinations that training never showed:

![random samples of withheld pairs](results/pocket_base_withheld.png)

## The LoRAs

{adapters_table()}

![two pictures without each LoRA, six with it](results/pocket_adapters.png)

## The forecast of the doctor

How well `loom doctor` tells, from the weights alone, that a picture of a set by `merge` will lack a concept. Fitted on
the tuning sets of PocketCompose, measured on its test sets: the area under the curve over pictures, and Spearman's rank
correlation over sets.

{forecast_table()}

## Sliders

How straight the effect of a LoRA follows its calibrated slider and its plain strength (R², the effects measured on
other prompts and seeds than the calibration), and cross-talk under `lion`: the largest change of one LoRA's attribute
while the slider of the other moves from 0 to 1, as a share of its own range. Few pictures, so the intervals are wide.

{linearity_table()}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for path, text in ((base_path() / "README.md", card()), (results_folder().parent / "pocket.md", page())):
        if check and path.read_text() != text:
            raise SystemExit(f"{path} is not what its results say: run python -m lora_loom.studio.builders.card")
        if not check:
            path.write_text(text)


if __name__ == "__main__":
    main()
