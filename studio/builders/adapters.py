"""Train the pocket LoRAs: `python -m lora_loom.studio.builders.adapters`.

One LoRA for each held-out concept, the categories in turn, so that any number of them is balanced. A LoRA whose file
exists is kept, an interrupted one resumes. With `--start FOLDER` each begins with the LoRA of its name there, which
takes fewer steps after a small change of the base. Two processes share the work with `--share 0/2` and `--share 1/2`.
"""

import argparse
import json
from pathlib import Path

from lora_loom.studio.builders.pictures import SIZE
from lora_loom.studio.pocket import adapters_path, base_path
from lora_loom.studio.pocket.concepts import CONCEPTS, concept, training_set

PICTURES = 160
# small areas need more steps than whole-picture ones
STEPS = {"character": 200, "object": 160, "accessory": 160, "background": 90, "style": 160}


def in_turn() -> list[str]:
    """All concepts, one of each category after the other."""
    by_category: dict[str, list[str]] = {}
    for name, held in CONCEPTS.items():
        by_category.setdefault(held.category, []).append(name)
    longest = max(len(names) for names in by_category.values())
    return [names[i] for i in range(longest) for names in by_category.values() if i < len(names)]


def train(
    name: str,
    base: Path,
    out: Path,
    steps: int | None = None,
    learning_rate: float = 2e-3,
    rank: int = 4,
    start: Path | None = None,
) -> None:
    from lora_loom.pipelines.training.lora import train_lora
    from lora_loom.pipelines.training.settings import LoraDescription, LoraTraining

    held = concept(name)
    settings = LoraTraining(
        rank=rank,
        alpha=rank,
        targets="full",
        learning_rate=learning_rate,
        steps=steps or STEPS[held.category],
        batch_size=8,
        schedule="cosine",
        warmup_steps=10,
        caption_dropout=0.1,
        trigger=name,
        mixed_precision="bf16",
        save_every=100,
        sample_guidance=3.0,
    )
    about = LoraDescription(
        held.title, held.category, held.description, (held.category, *held.tags), "Loom", "Apache-2.0", 1.0
    )
    folder = out.parent / f".{name}.training"
    resume = (folder / "latest.checkpoint").exists()
    pictures = training_set(name, PICTURES, size=SIZE)
    done = train_lora(settings, pictures, base, out, about=about, resume=resume, run_folder=folder, start=start)
    print(
        json.dumps({"name": name, "steps": done.steps, "seconds": round(done.seconds), "loss": done.final_loss}),
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="concepts; without any, all")
    parser.add_argument("--base", type=Path, default=base_path())
    parser.add_argument("--out", type=Path, default=adapters_path())
    parser.add_argument("--share", default="0/1", help="k/n: train every n-th concept, beginning with the k-th")
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--start", type=Path, help="folder of LoRAs to begin with")
    arguments = parser.parse_args()
    first, every = (int(x) for x in arguments.share.split("/"))
    for name in (arguments.names or in_turn())[first::every]:
        out = arguments.out / f"{name}.safetensors"
        if not out.exists():
            start = arguments.start / out.name if arguments.start else None
            train(name, arguments.base, out, arguments.steps, arguments.learning_rate, arguments.rank, start)


if __name__ == "__main__":
    main()
