"""Draw with several fusion methods and measure the pictures: FID, KID, CLIPScore, diversity, joint success, and cost.

    python examples/fid_clip_evaluation.py --methods merge,switch,composite --sets 40 --seeds 4 --out evaluation

It draws the sets of PocketCompose, each from the same seeds for every method, takes true pictures of the same scenes as
the reference, and writes `results.json`, `report.html` and `report.md`. For a checkpoint and LoRAs of your own, let
`asked` return your prompts, and give a folder of real pictures as the reference; hundreds of pictures are drawn by
`loom batch`, whose folders are read by the same `read_pictures`.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.cli.evaluating import document, results_table, write_json
from lora_loom.studio.evaluation.evaluate import ask, evaluate, fitting
from lora_loom.studio.evaluation.feature_cache import FeatureCache, default_cache
from lora_loom.studio.evaluation.pictures import read_pictures
from lora_loom.studio.evaluation.report.build import build, write
from lora_loom.studio.pocket.world.render import render
from lora_loom.studio.pocket.world.scene import sample_scene
from lora_loom.studio.records.record import save_png
from lora_loom.studio.session import Studio
from lora_loom.studio.testbed.sets import LoraSet, sets_of


def asked(sets: int, seeds: int) -> Iterator[tuple[LoraSet, int]]:
    """What to draw: prompt, LoRAs and what must be seen, with each seed."""
    for each in sets_of("test", sizes=(2,), at_most=sets):
        for seed in each.seeds(seeds):
            yield each, seed


def draw(studio: Studio, methods: list[str], work: list[tuple[LoraSet, int]], steps: int, out: Path) -> None:
    """One PNG for each method, prompt and seed, and a metadata.jsonl that says what each is."""
    rows = []
    for method in methods:
        for each, seed in tqdm(work, desc=method, unit="picture"):
            name = f"{method}/{each.name}-{seed}.png"
            request = GenerationRequest(
                each.prompt,
                adapters=each.choices,
                method=method,
                seed=seed,
                num_inference_steps=steps,
                base_model=studio.base_model,
            )
            made = studio.generate(request, save=False)[0]
            save_png(made.image, made.record, out / name)
            cost = {"seconds": made.record.seconds, "passes": dict(made.record.passes), "num_inference_steps": steps}
            known = {"prompt": each.prompt, "seed": seed, "method": method, "expected": each.expected}
            rows.append({"file_name": name, **known, **cost})
    (out / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def render_reference(work: list[tuple[LoraSet, int]], size: int, out: Path) -> None:
    """True pictures of the same scenes; what a prompt leaves open is drawn at random."""
    out.mkdir(parents=True, exist_ok=True)
    for each, seed in tqdm(work, desc="reference", unit="picture"):
        scene = sample_scene(np.random.default_rng(seed), **each.scene.named())
        pixels = (render(scene, size).image * 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(out / f"{each.name}-{seed}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="pocket")
    parser.add_argument("--methods", default="merge,switch,composite")
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--extractor", default="pocket", help="or clip:ID, dinov2:ID, open_clip:NAME=FILE ...")
    parser.add_argument("--out", type=Path, default=Path("evaluation"))
    arguments = parser.parse_args()

    work = list(asked(arguments.sets, arguments.seeds))
    generated, reference = arguments.out / "generated", arguments.out / "reference"
    draw(Studio(arguments.base), arguments.methods.split(","), work, arguments.steps, generated)
    pictures = read_pictures(generated)
    render_reference(work, pictures.pictures[0].pixels().shape[0], reference)

    against = read_pictures(reference)
    metrics = ask(fitting(pictures, against, arguments.extractor), arguments.extractor)
    with FeatureCache(default_cache()) as cache:
        found = evaluate(pictures, metrics, against, cache=cache)
    results_table(found)
    write_json(document(found, "python examples/fid_clip_evaluation.py"), arguments.out / "results.json")
    report = build({"generated": found}, {}, title="Fusion methods side by side")
    print(*write(report, arguments.out / "report.html"))


if __name__ == "__main__":
    main()
