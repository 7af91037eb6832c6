"""Measure the pocket base: `python -m lora_loom.studio.builders.measure_base`.

By both judges, from one set of pictures. Writes `docs/results/pocket_base.json` and contact sheets of random samples
with their verdicts.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from PIL import Image

from lora_loom.studio.builders.autoencoder import psnr_of_each
from lora_loom.studio.builders.contact_sheet import contact_sheet
from lora_loom.studio.builders.pictures import SIZE, base_scenes, draw
from lora_loom.studio.builders.sampling import drawn_prompts_once, load_pipeline
from lora_loom.studio.pocket import base_path
from lora_loom.studio.pocket.concepts import base_prompts
from lora_loom.studio.pocket.judge import JUDGED, Judge, sealed_judge, shipped_judge
from lora_loom.studio.pocket.world.scene import Scene
from lora_loom.studio.results import Row, proportion, results_folder, write_results

LINES = {"subject": 0.90, "colour": 0.95, "background": 0.95, "style": 0.85}
MAIN = tuple(LINES)
PSNR_LINE = 30.0
JOINT = {"development": {"seen": 0.75}, "sealed": {"seen": 0.9, "withheld": 0.8}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument(
        "--count", type=int, default=500, help="prompts of seen combinations; half as many of withheld pairs"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--half", action="store_true", help="compute in bfloat16")
    parser.add_argument("--work", type=Path, default=Path("outputs/measure_base"), help="where the pictures are kept")
    parser.add_argument("--draw-only", action="store_true", help="draw the pictures, judge them another time")
    arguments = parser.parse_args()
    pipeline = load_pipeline(arguments.base, arguments.half)
    splits = {"seen": arguments.count, "withheld": arguments.count // 2}
    asked = {split: base_prompts(count, seed=7, withheld=split == "withheld") for split, count in splits.items()}
    pictures = {
        split: drawn_prompts_once(
            arguments.work / f"{split}_{arguments.steps}.npy",
            pipeline,
            [prompt for prompt, _ in asked[split]],
            steps=arguments.steps,
            guidance_scale=arguments.guidance,
            first_seed=7000,
        )
        for split in splits
    }
    if arguments.draw_only:
        return
    rows = [autoencoder_row(arguments.base)]
    for name, judge in (("development", shipped_judge()), ("sealed", sealed_judge())):
        for split in splits:
            rows += judged(name, split, judge, pictures[split], [scene for _, scene in asked[split]])
    command = f"python -m lora_loom.studio.builders.measure_base --count {arguments.count} --steps {arguments.steps}"
    write_results("pocket_base", command + " --half" * arguments.half, rows)


def autoencoder_row(base: Path, count: int = 200) -> Row:
    """Mean PSNR in dB of round trips of fresh renders at the base's size, with a bootstrap interval."""
    vae: Any = AutoencoderTiny.from_pretrained(base / "vae", torch_dtype=torch.float32)
    decibels = psnr_of_each(vae, draw(base_scenes(count, seed=12), SIZE))
    means = np.random.default_rng(0).choice(decibels, (2000, count)).mean(1)
    low, high = (round(float(x), 2) for x in np.quantile(means, (0.025, 0.975)))
    value = round(float(decibels.mean()), 2)
    keys: Row = {"split": "fresh renders", "factor": "autoencoder PSNR in dB", "value": value, "n": count}
    return keys | {"ci_low": low, "ci_high": high, "line": PSNR_LINE, "holds": value >= PSNR_LINE}


def judged(name: str, split: str, judge: Judge, pictures: NDArray[np.uint8], scenes: Sequence[Scene]) -> list[Row]:
    """One row a factor and two for several at once; the development judge's verdicts go to a contact sheet."""
    found = judge.verdicts(pictures)
    right = [{f: v[f] == getattr(scene, f) for f in JUDGED} for v, scene in zip(found, scenes, strict=True)]
    lines = LINES if split == "seen" else {}
    rows = [proportion([r[f] for r in right], judge=name, split=split, factor=f, line=lines.get(f)) for f in JUDGED]
    main, every = [all(r[f] for f in MAIN) for r in right], [all(r.values()) for r in right]
    line = JOINT[name].get(split)
    rows.append(proportion(main, judge=name, split=split, factor="+".join(MAIN), line=line))
    rows.append(proportion(every, judge=name, split=split, factor="all", line=line if name == "sealed" else None))
    if name == "development":
        shown = range(min(48, len(pictures)))
        verdicts = [[_label(f, found[i][f], right[i][f]) for f in MAIN] for i in shown]
        images = [Image.fromarray(pictures[i]) for i in shown]
        contact_sheet(images, verdicts, results_folder() / f"pocket_base_{split}.png", text_lines=4)
    return rows


def _label(factor: str, found: str, right: bool) -> tuple[str, bool]:
    return f"{factor}: {found}", right


if __name__ == "__main__":
    main()
