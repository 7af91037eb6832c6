"""Train a pocket judge: `python -m lora_loom.studio.builders.judge --work DIR --judge development|sealed`.

It sees wider poses than the world draws, blur, noise, compression, shifted colours and autoencoder round trips; and
for its class 'other' strange creatures, colours, places and styles, blends of two pictures, noise, half-erased pictures
and decoded nonsense. `--prepare-only` draws the pictures and stops; the training then needs `DIR/vae`. Writes
`DIR/judge.safetensors` or `DIR/sealed_judge.safetensors` and, unless `--no-ship`, the same into the package.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from lora_loom.pipelines.training.loop_settings import cosine
from lora_loom.pipelines.training.machine import accelerator_for
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached
from lora_loom.studio.builders.labelled import Labels, Pictures, Pool, labelled
from lora_loom.studio.builders.round_trips import load_autoencoder, round_trip, spoiled
from lora_loom.studio.builders.sampling import best_device
from lora_loom.studio.builders.training import buffers, built, learning, restore_buffers, settings_for
from lora_loom.studio.builders.wear import ruined, worn
from lora_loom.studio.pocket import base_path
from lora_loom.studio.pocket.judge import CLASSES, FILES, JUDGED, Judge, JudgeSpec, resized

ROUND_SHARE, SPOILED_SHARE, RUINED_SHARE = 0.25, 0.05, 0.06  # of a batch
DEVELOPMENT_POOL = Pool("development", 141, 128, (1.0, 2.0), (0.1, 0.04, 0.05, 0.05))
SEALED_POOL = Pool("sealed", 977, 112, (0.6, 2.2), (0.14, 0.06, 0.06, 0.06))
HELD_OUT_POOL = Pool("held_out", 142, 128, (1.0, 1.0))
HELD_OUT = 1000


@dataclass(frozen=True)
class Recipe:
    """Everything that differs between the judges."""

    pool: Pool
    pictures: int
    spec: JudgeSpec
    seed: int
    peak: float  # learning rate
    batch: int = 256
    sealed: bool = False
    rounds: int | None = None  # pictures that also make the round trip; a third of all when not said
    save_every: int = 500


RECIPES = {
    "development": Recipe(
        DEVELOPMENT_POOL,
        48000,
        JudgeSpec("convolutions", {"widths": (24, 48, 96, 128), "stem_stride": 2}, input_size=128),
        seed=0,
        peak=4e-3,
    ),
    "sealed": Recipe(SEALED_POOL, 40000, JudgeSpec("residual_attention", {}, input_size=112), 7, 3e-3, sealed=True),
}


def nothing_known(labels: Tensor) -> Tensor:
    """The class numbers of 'other' [n factors], like `labels`."""
    return torch.tensor([len(CLASSES[f]) - 1 for f in JUDGED], device=labels.device).expand(len(labels), -1)


@dataclass(frozen=True)
class Material:
    """Training pictures uint8 [n h w 3] on the device, their labels, round trips of the first, spoiled pictures."""

    pictures: Tensor
    labels: Tensor
    rounds: Tensor
    spoiled: Tensor

    def batch(self, size: int, input_size: int, sealed: bool) -> tuple[Tensor, Tensor]:
        """x [n 3 s s] in [-1, 1] and labels [n factors]: true pictures, round trips, spoiled and ruined ones."""
        rounds, spoilt, ruins = (int(size * share) for share in (ROUND_SHARE, SPOILED_SHARE, RUINED_SHARE))
        device = self.pictures.device
        rows = torch.randint(len(self.pictures), (size - rounds - spoilt,), device=device)
        round_rows = torch.randint(len(self.rounds), (rounds,), device=device)
        nothing = torch.randint(len(self.spoiled), (spoilt,), device=device)

        def at(source: Tensor, index: Tensor) -> Tensor:
            return resized(source[index].permute(0, 3, 1, 2).float() / 127.5 - 1, input_size)

        x = torch.cat((at(self.pictures, rows), at(self.rounds, round_rows), at(self.spoiled, nothing)))
        y = torch.cat((self.labels[rows], self.labels[round_rows], nothing_known(self.labels[:spoilt])))
        x = worn(x, sealed=sealed)
        x = torch.cat((ruined(x[:ruins]), x[ruins:]))
        return x, torch.cat((nothing_known(y[:ruins]), y[ruins:]))


def material(recipe: Recipe, work: Path, workers: int, device: torch.device) -> Material:
    pictures, labels = labelled(work, recipe.pool, recipe.pictures, workers)
    vae = load_autoencoder(work, device, torch.bfloat16)
    trips = recipe.rounds or max(1, len(pictures) // 3)
    rounds = round_trip(vae, pictures[:trips])
    nonsense = spoiled(vae, pictures[-max(1, trips * 3 // 10) :], recipe.seed)
    on = [torch.from_numpy(np.array(a)).to(device) for a in (pictures, labels, rounds, nonsense)]
    return Material(*on)


class JudgeObjective(Objective[tuple[Tensor, Tensor]]):
    """A network names every factor of a picture; the loss is the mean cross entropy over the factors."""

    def __init__(self, recipe: Recipe, network: Any, data: Material, accelerator: Accelerator) -> None:
        self._recipe, self._network, self._data, self._accelerator = recipe, network.train(), data, accelerator

    def groups(self) -> Sequence[ParameterGroup]:
        return [learning(self._network, self._recipe.peak)]

    def batches(self, passes: Passes) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in passes.own:
            yield self._data.batch(self._recipe.batch, self._recipe.spec.input_size, self._recipe.sealed)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        with self._accelerator.autocast():
            logits = self._network(x.contiguous(memory_format=torch.channels_last))
        return torch.stack([F.cross_entropy(logits[f].float(), y[:, i]) for i, f in enumerate(JUDGED)]).mean()

    def numbers(self, step: int) -> Mapping[str, float | str]:
        return {"pictures": step * self._recipe.batch}

    def state(self) -> Mapping[str, Tensor]:
        return buffers(self._network)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        restore_buffers(self._network, state)

    def export(self, path: Path, at: Reached) -> None:
        Judge(self._network, self._recipe.spec).save(path)


def train(
    recipe: Recipe, data: Material, folder: Path, steps: int, seconds: float | None = None, from_step: int = 0
) -> nn.Module:
    """The recipe's network trained on `data`; goes on from the checkpoint in `folder` when there is one."""
    torch.manual_seed(recipe.seed)
    device = data.pictures.device
    network = cast("Any", recipe.spec.network()).to(device, memory_format=torch.channels_last)
    settings = settings_for(
        cosine(100, from_step / steps if seconds is None else 0.0),
        steps,
        seconds,
        {"pool": recipe.pool.name, "pictures": len(data.pictures), "seed": recipe.seed},
        betas=(0.9, 0.99),
        weight_decay=0.02,
        max_grad_norm=1.0,
        log_every=recipe.save_every,
        save_every=recipe.save_every,
    )
    with accelerator_for("bf16", "cpu" if device.type == "cpu" else "auto") as accelerator:
        built(JudgeObjective(recipe, network, data, accelerator), settings, accelerator, folder)
    return network.eval()


def calibrated(judge: Judge, pictures: Pictures, labels: Labels) -> Judge:
    """The judge with the temperature per factor that makes the truth of these pictures most likely."""
    logits, truth = judge.logits(pictures), torch.from_numpy(labels)
    grid = torch.logspace(-0.7, 0.7, 57).tolist()
    best = {
        f: min(grid, key=lambda t, f=f, i=i: float(F.cross_entropy(logits[f] / t, truth[:, i])))
        for i, f in enumerate(JUDGED)
    }
    return Judge(judge.network, replace(judge.spec, temperatures=best))


def accuracy(judge: Judge, pictures: Pictures, labels: Labels) -> dict[str, float]:
    """Share of right verdicts by factor."""
    found = judge.verdicts(pictures)
    return {
        f: float(np.mean([found[k][f] == CLASSES[f][labels[k, i]] for k in range(len(found))]))
        for i, f in enumerate(JUDGED)
    }


def main(judge: str = "development") -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, checkpoint, log and result")
    parser.add_argument("--judge", choices=tuple(RECIPES), default=judge)
    parser.add_argument("--pictures", type=int, help="training pictures")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seconds", type=float, help="train for so long instead of for `--steps`")
    parser.add_argument("--from-step", type=int, default=0, help="a checkpoint's step: the rate falls anew from there")
    parser.add_argument("--peak", type=float, help="learning rate")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rounds", type=int, help="pictures that also make the round trip (a third of all)")
    parser.add_argument("--save-every", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--device", default=best_device())
    parser.add_argument("--held-out", type=int, default=HELD_OUT)
    parser.add_argument("--prepare-only", action="store_true")
    parser.add_argument("--ship", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    recipe = RECIPES[arguments.judge]
    recipe = replace(
        recipe,
        pictures=arguments.pictures or recipe.pictures,
        batch=arguments.batch or recipe.batch,
        peak=arguments.peak or recipe.peak,
        rounds=arguments.rounds,
        save_every=arguments.save_every,
    )
    held_out = labelled(arguments.work, HELD_OUT_POOL, arguments.held_out, arguments.workers)
    labelled(arguments.work, recipe.pool, recipe.pictures, arguments.workers)
    if arguments.prepare_only:
        return
    device = torch.device(arguments.device)
    data = material(recipe, arguments.work, arguments.workers, device)
    folder = arguments.work / f"{arguments.judge}_judge.training"
    network = train(recipe, data, folder, arguments.steps, arguments.seconds, arguments.from_step)
    trained = calibrated(Judge(network, recipe.spec), *held_out)
    worn_rounds = round_trip(load_autoencoder(arguments.work, device, torch.bfloat16), held_out[0])
    for shift, pictures in (("fresh", held_out[0]), ("round trip", worn_rounds)):
        print(json.dumps({"shift": shift, **accuracy(trained, pictures, held_out[1])}), flush=True)
    name = FILES[arguments.judge]
    trained.save(arguments.work / name)
    if arguments.ship:
        trained.save(base_path().parent / name)


if __name__ == "__main__":
    main()
