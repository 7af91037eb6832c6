"""Train and measure the pocket judge: `python -m studio.pocket.build.judge --work DIR`.

It sees wider poses than the world draws, blur, noise, shifted colours and autoencoder round trips, and for its class
'other' creatures of no known kind, blends of two pictures, noise and half-erased pictures. Writes
`studio/pocket/judge.safetensors` and `docs/results/pocket_judge.json`.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from studio.pocket.build import checkpoint
from studio.pocket.build.autoencoder import to_tensor
from studio.pocket.judge import CLASSES, JUDGED, OTHER, Classifier, Judge
from studio.pocket.world.creatures import random_creature
from studio.pocket.world.render import render
from studio.pocket.world.scene import CREATURES, FACTORS, HELD, PLACES, Scene, posed
from studio.results import Row, proportion, write_results

Labels = NDArray[np.int64]


def any_scene(
    rng: np.random.Generator, jitter: float, unknown: float = 0.0
) -> tuple[Scene, NDArray[np.float32], list[int]]:
    """A scene over all values, its picture and labels; a share `unknown` shows a creature of no known kind."""
    values = {f: (*v, *HELD.get(f, ())) for f, v in FACTORS.items()}
    draw: dict[str, Any] = {f: str(rng.choice(v)) for f, v in values.items()}
    draw["place"] = str(rng.choice(PLACES, p=(0.7, 0.15, 0.15)))
    scene = posed(Scene(**draw), rng, jitter)
    stranger = random_creature(rng) if scene.subject in CREATURES and rng.random() < unknown else None
    labels = [CLASSES[f].index(OTHER if stranger and f == "subject" else getattr(scene, f)) for f in JUDGED]
    return scene, render(scene, 64, stranger).image, labels


def pictures_and_labels(
    path: Path, count: int, seed: int, jitter: float, unknown: float
) -> tuple[NDArray[np.uint8], Labels]:
    if path.exists():
        held = np.load(path)
        return held["pictures"], held["labels"]
    pictures, labels = np.empty((count, 64, 64, 3), np.uint8), np.empty((count, len(JUDGED)), np.int64)
    for i in tqdm(range(count), desc=path.name):
        _, image, labels[i] = any_scene(np.random.default_rng((seed, i)), jitter, unknown)
        pictures[i] = np.round(image * 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, pictures=pictures, labels=labels)
    return pictures, labels


@torch.no_grad()
def round_trip(vae: Any, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    parts = [vae.decode(vae.encode(x).latents).sample for x in to_tensor(pictures).split(50)]
    return ((torch.cat(parts).clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def worn(x: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Blur, noise and colour shifts on most pictures; a tenth of the batch becomes 'other' in every factor."""
    n = len(x)
    chance = torch.rand(n, 4, generator=generator)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = (torch.rand(n, 1, 1, 1, generator=generator) * (chance[:, 0] < 0.35)[:, None, None, None]).float()
    x = x + share * (blurred - x)
    x = (
        x
        + torch.randn(x.shape, generator=generator) * (0.12 * chance[:, 1] * (chance[:, 1] < 0.7))[:, None, None, None]
    )
    x = x * (1 + 0.12 * (torch.rand(n, 3, 1, 1, generator=generator) - 0.5)) + 0.1 * (
        torch.rand(n, 3, 1, 1, generator=generator) - 0.5
    )
    k = n // 10
    other = torch.tensor([len(CLASSES[f]) - 1 for f in JUDGED])
    kind = torch.randint(0, 3, (1,), generator=generator).item()
    if kind == 0:
        x[:k] = (x[:k] + x[k : 2 * k].flip(3)) / 2
    elif kind == 1:
        x[:k] = torch.randn(x[:k].shape, generator=generator).clamp(-1.5, 1.5) * torch.rand(
            k, 1, 1, 1, generator=generator
        )
    else:
        x[:k] = 0.45 * x[:k] + 0.9 * torch.randn(x[:k].shape, generator=generator)
    labels = labels.clone()
    labels[:k] = other
    return x.clamp(-1, 1), labels


def train(work: Path, vae: Any, count: int, steps: int, batch: int, start: Judge | None = None) -> Classifier:
    pictures, labels = pictures_and_labels(work / "judge_pictures.npz", count, seed=41, jitter=1.5, unknown=0.22)
    rounds_path = work / "judge_rounds.npy"
    if not rounds_path.exists():
        np.save(rounds_path, round_trip(vae, pictures[: count // 3]))
    rounds = np.load(rounds_path)
    torch.manual_seed(0)
    classifier = start.classifier.train() if start else Classifier()
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    log, rng, running = checkpoint.Log(work / "judge_log.jsonl"), np.random.default_rng(5), 0.0
    for step in range(steps):
        rows = rng.integers(count, size=batch)
        use_round = (rows < len(rounds)) & (rng.random(batch) < 0.6)
        chosen = np.where(use_round[:, None, None, None], rounds[np.minimum(rows, len(rounds) - 1)], pictures[rows])
        x, y = worn(to_tensor(chosen), torch.from_numpy(labels[rows]), generator)
        with torch.autocast("cpu", torch.bfloat16):
            logits = classifier(x)
        loss = torch.stack([F.cross_entropy(logits[f].float(), y[:, i]) for i, f in enumerate(JUDGED)]).mean()
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        running = float(loss.detach()) if step == 0 else 0.98 * running + 0.02 * float(loss.detach())
        if (step + 1) % 100 == 0:
            log.write(step=step + 1, loss=running)
    return classifier.eval()


def accuracies(judge: Judge, pictures: NDArray[np.uint8], labels: Labels, shift: str, line: float | None) -> list[Row]:
    """One row a factor: the share of right verdicts on pictures with a known truth."""
    found = judge.verdicts(pictures)
    rows = []
    for i, factor in enumerate(JUDGED):
        right = [found[k][factor] == CLASSES[factor][labels[k, i]] for k in range(len(found))]
        rows.append(proportion(right, shift=shift, factor=factor, what="accuracy", line=line))
    every = [all(found[k][f] == CLASSES[f][labels[k, i]] for i, f in enumerate(JUDGED)) for k in range(len(found))]
    return [*rows, proportion(every, shift=shift, factor="all", what="accuracy", line=None)]


def measure(judge: Judge, vae: Any, work: Path, count: int) -> list[Row]:
    rows: list[Row] = []
    for jitter in (1.0, 1.5):
        pictures, labels = pictures_and_labels(
            work / f"judge_fresh_{jitter}.npz", count, seed=42, jitter=jitter, unknown=0.0
        )
        rows += accuracies(judge, pictures, labels, f"fresh renders, jitter {jitter}", 0.99 if jitter == 1.0 else None)
        if jitter == 1.0:
            rows += accuracies(judge, round_trip(vae, pictures), labels, "autoencoder round trip", None)
    pictures, labels = pictures_and_labels(work / "judge_strangers.npz", 500, seed=43, jitter=1.0, unknown=1.0)
    stranger = labels[:, 0] == len(CLASSES["subject"]) - 1
    found = judge.verdicts(pictures[stranger])
    rows.append(
        proportion(
            [v["subject"] == OTHER for v in found],
            shift="unknown creatures",
            factor="subject",
            what="abstention",
            line=None,
        )
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder that holds the trained autoencoder (vae/)")
    parser.add_argument("--pictures", type=int, default=24000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--fresh", type=int, default=2000, help="pictures of each accuracy")
    parser.add_argument("--go-on", action="store_true", help="start from the shipped judge instead of from nothing")
    parser.add_argument("--measure-only", action="store_true", help="measure the shipped judge again")
    arguments = parser.parse_args()
    vae = AutoencoderTiny.from_pretrained(arguments.work / "vae")
    out = Path(__file__).parents[1] / "judge.safetensors"
    if not arguments.measure_only:
        start = Judge.load(out) if arguments.go_on else None
        classifier = train(arguments.work, vae, arguments.pictures, arguments.steps, arguments.batch, start)
        save_file({k: v.half() if v.is_floating_point() else v for k, v in classifier.state_dict().items()}, out)
    rows = measure(Judge.load(out), vae, arguments.work, arguments.fresh)
    write_results("pocket_judge", "python -m studio.pocket.build.judge --work DIR --measure-only", rows)


if __name__ == "__main__":
    main()
