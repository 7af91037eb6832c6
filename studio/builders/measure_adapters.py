"""Judge every shipped pocket LoRA alone: `python -m lora_loom.studio.builders.measure_adapters`.

For each, the share of pictures that show its concept, with the LoRA and, for the same prompts and seeds, without it.
Pictures are kept under `--work`, so an interrupted run goes on; `--share k/n --draw-only` splits the drawing. Writes
`docs/results/pocket_adapters.json` and a contact sheet.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lora_loom.pipelines.families import FusionPipeline
from lora_loom.studio.builders.adapters import in_turn
from lora_loom.studio.builders.contact_sheet import Line, contact_sheet
from lora_loom.studio.builders.sampling import best_device, drawn_prompts_once
from lora_loom.studio.pocket import adapters_path, base_path
from lora_loom.studio.pocket.concepts import concept, prompts
from lora_loom.studio.pocket.judge import Judge, shipped_judge
from lora_loom.studio.results import Row, proportion, results_folder, write_results

SEED = 5000
SHOWN = {"without": 2, "with": 6}  # pictures on the contact sheet
LINES = {"without": 0.1, "with": 0.8}
Drawn = dict[str, NDArray[np.uint8]]  # by `without` and `with`, uint8 [n h w 3]


def drawn(pipe: Any, name: str, path: Path, count: int, steps: int, work: Path) -> Drawn:
    """The pictures of the concept's prompts without and with the LoRA in `path`."""
    asked = [prompt for prompt, _ in prompts(name, count)]
    pictures: Drawn = {}
    for what in SHOWN:
        if what == "with":
            pipe.load_lora_weights(str(path), adapter_name=name)
        part = work / f"{name}_{what}_{steps}.npy"
        pictures[what] = drawn_prompts_once(part, pipe, asked, steps=steps, guidance_scale=3.0, first_seed=SEED)
    pipe.delete_adapters(name)
    return pictures


def judged(judge: Judge, name: str, steps: int, pictures: Drawn) -> list[Row]:
    held = concept(name)
    rows: list[Row] = []
    for what, some in pictures.items():
        shown = [verdict[held.factor] == name for verdict in judge.verdicts(some)]
        keys = {"adapter": name, "category": held.category, "lora": what, "steps": steps}
        rows.append(proportion(shown, line=LINES[what], below=what == "without", **keys))
    return rows


def sheet(names: Sequence[str], pictures: dict[str, Drawn], rows: dict[str, list[Row]]) -> None:
    """One line a LoRA: pictures without and with it, with the share that shows the concept."""
    tiles: list[Image.Image] = []
    lines: list[list[Line]] = []
    for name in names:
        for (what, count), row in zip(SHOWN.items(), rows[name], strict=True):
            tiles += [Image.fromarray(picture) for picture in pictures[name][what][:count]]
            label = f"{name} {'on' if what == 'with' else 'off'}"
            lines += [[(label, True), (f"{row['value']:.2f} of {row['n']}", True)]] * count
    contact_sheet(
        tiles, lines, results_folder() / "pocket_adapters.png", columns=sum(SHOWN.values()), tile=96, text_lines=2
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument("--adapters", type=Path, default=adapters_path())
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--half", action="store_true", help="compute in bfloat16")
    parser.add_argument("--share", default="0/1", help="k/n: draw every n-th adapter, beginning with the k-th")
    parser.add_argument("--draw-only", action="store_true", help="draw the pictures, judge them another time")
    parser.add_argument("--work", type=Path, default=Path("outputs/measure_adapters"), help="where pictures are kept")
    arguments = parser.parse_args()
    dtype = torch.bfloat16 if arguments.half else torch.float32
    pipe = FusionPipeline.from_pretrained(str(arguments.base), dtype=dtype).to(best_device())
    pipe.set_progress_bar_config(disable=True)
    shipped = {path.stem: path for path in arguments.adapters.glob("*.safetensors")}
    first, every = (int(x) for x in arguments.share.split("/"))
    names = sorted(arguments.names or [name for name in in_turn()[first::every] if name in shipped])
    pictures = {
        name: drawn(pipe, name, shipped[name], arguments.count, arguments.steps, arguments.work) for name in names
    }
    if arguments.draw_only:
        return
    rows = {name: judged(shipped_judge(), name, arguments.steps, pictures[name]) for name in names}
    command = (
        f"python -m lora_loom.studio.builders.measure_adapters --count {arguments.count} --steps {arguments.steps}"
    )
    write_results(
        "pocket_adapters", command + " --half" * arguments.half, [row for name in names for row in rows[name]]
    )
    sheet(names, pictures, rows)


if __name__ == "__main__":
    main()
