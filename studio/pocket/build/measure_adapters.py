"""Judge every shipped pocket LoRA alone: `python -m studio.pocket.build.measure_adapters`.

For each, the share of pictures that show its concept, with the LoRA and, for the same prompts and seeds, without it.
Writes `docs/results/pocket_adapters.json` and a contact sheet. Finished adapters are kept in the result file, so an
interrupted run goes on, and `--share` splits the work.
"""

import argparse
import json
from pathlib import Path

from PIL import Image

from pipelines.families import FusionPipeline
from studio.pocket import adapters_path, base_path
from studio.pocket.build.adapters import in_turn
from studio.pocket.build.contact_sheet import contact_sheet
from studio.pocket.build.sampling import best_device, draw_prompts
from studio.pocket.concepts import concept, prompts
from studio.pocket.judge import Judge
from studio.results import RESULTS, Row, proportion, write_results

SHOWN, SEED = 6, 5000


def measure(
    pipe: FusionPipeline, judge: Judge, name: str, path: Path, count: int, steps: int
) -> tuple[list[Row], list[Image.Image]]:
    held = concept(name)
    asked = [prompt for prompt, _ in prompts(name, count)]
    rows: list[Row] = []
    pictures = {}
    for what in ("without", "with"):
        if what == "with":
            pipe.load_lora_weights(str(path), adapter_name=name)
        pictures[what] = draw_prompts(pipe, asked, steps=steps, guidance_scale=3.0, first_seed=SEED)
        shown = [verdict[held.factor] == name for verdict in judge.verdicts(pictures[what])]
        line = 0.8 if what == "with" else 0.1
        keys = {"adapter": name, "category": held.category, "lora": what, "steps": steps}
        rows.append(proportion(shown, line=line, below=what == "without", **keys))
    pipe.delete_adapters(name)
    return rows, [Image.fromarray(p) for p in (*pictures["without"][: SHOWN // 3], *pictures["with"][:SHOWN])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument("--adapters", type=Path, default=adapters_path())
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--share", default="0/1", help="k/n: measure every n-th adapter, beginning with the k-th")
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/measure_adapters"), help="where finished parts are kept"
    )
    parser.add_argument("--quick", action="store_true", help="print the figures, write no result")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    pipe, judge = FusionPipeline.from_pretrained(str(arguments.base)).to(best_device()), Judge.load()
    pipe.set_progress_bar_config(disable=True)
    shipped = {path.stem for path in arguments.adapters.glob("*.safetensors")}
    names = arguments.names or sorted(shipped)
    first, every = (int(x) for x in arguments.share.split("/"))
    for name in arguments.names or [name for name in in_turn()[first::every] if name in shipped]:
        part = arguments.work / f"{name}.json"
        if not part.exists():
            rows, images = measure(
                pipe, judge, name, arguments.adapters / f"{name}.safetensors", arguments.count, arguments.steps
            )
            for i, image in enumerate(images):
                image.save(arguments.work / f"{name}_{i}.png")
            part.write_text(json.dumps(rows))
            print(*(json.dumps(row) for row in rows), sep="\n", flush=True)
    parts = [arguments.work / f"{name}.json" for name in names]
    if arguments.quick or not all(part.exists() for part in parts):
        return
    rows = [row for part in parts for row in json.loads(part.read_text())]
    command = f"python -m studio.pocket.build.measure_adapters --count {arguments.count} --steps {arguments.steps}"
    write_results("pocket_adapters", command, rows)
    tiles, lines = [], []
    for name, part in zip(names, parts, strict=True):
        without, with_ = (row["value"] for row in json.loads(part.read_text()))
        for i in range(SHOWN // 3 + SHOWN):
            tiles.append(Image.open(arguments.work / f"{name}_{i}.png"))
            bare = i < SHOWN // 3
            lines.append(
                [
                    (f"{name} {'off' if bare else 'on'}", True),
                    (f"{without if bare else with_:.2f} of {arguments.count}", True),
                ]
            )
    contact_sheet(tiles, lines, RESULTS / "pocket_adapters.png", columns=SHOWN // 3 + SHOWN, tile=96, text_lines=2)


if __name__ == "__main__":
    main()
