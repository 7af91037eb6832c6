"""Train the pocket encoder: `python -m lora_loom.studio.builders.encoder --work DIR`.

Contrastive (arXiv 2103.00020, section 2.3) on pictures and captions of the pocket world. Every picture also meets a
foil: the caption of the same scene with one factor exchanged, so that the encoder cannot live on the easy half of the
differences. It learns from the development judge's pictures and needs `DIR/vae` for round trips. Writes
`DIR/encoder/` in open_clip's file names and, unless `--no-ship`, the same into the package.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from lora_loom.pipelines.training.loop_settings import cosine
from lora_loom.pipelines.training.machine import accelerator_for
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached
from lora_loom.studio.builders.judge import DEVELOPMENT_POOL, HELD_OUT, HELD_OUT_POOL, RECIPES
from lora_loom.studio.builders.labelled import VALUES, Labels, Pictures, Pool, labelled, processes, scene_of
from lora_loom.studio.builders.round_trips import load_autoencoder, round_trip
from lora_loom.studio.builders.sampling import best_device
from lora_loom.studio.builders.training import buffers, built, learning, restore_buffers, settings_for
from lora_loom.studio.builders.wear import worn
from lora_loom.studio.pocket.encoder import CONFIG, FOLDER, WEIGHTS, PocketEncoder, encoder_tokens, new_model
from lora_loom.studio.pocket.judge import CLASSES, resized
from lora_loom.studio.pocket.world.captions import Drop, caption
from lora_loom.studio.pocket.world.scene import Scene

DIM, CONTEXT = 128, 32
PEAK, LOGIT_SCALE_LIMIT = 1.5e-3, 4.6052  # ln 100
VARIANTS = 3  # captions of each picture, each with a foil
SOME = Drop(colour=0.08, texture=0.15, accessory=0.05, background=0.08, style=0.08, subject=0.02, companion=0.04)
RANKED = 32


def configuration(vocabulary: int) -> dict[str, Any]:
    """open_clip's `model_cfg`: a small ResNet with attention pooling over 128 pixels, a text transformer over words."""
    return {
        "embed_dim": DIM,
        "vision_cfg": {"image_size": 128, "layers": [1, 2, 2, 1], "width": 24, "head_width": 64, "patch_size": None},
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": vocabulary,
            "width": 128,
            "heads": 4,
            "layers": 3,
            "pool_type": "eos",
            "eos_id": 2,
            "pad_id": 0,
            "no_causal_mask": True,
        },
    }


def foil(scene: Scene, rng: np.random.Generator) -> Scene:
    """The scene with one named factor exchanged for another value."""
    factor = str(rng.choice(tuple(VALUES)))
    others = [value for value in VALUES[factor] if value != getattr(scene, factor)]
    changed: dict[str, Any] = {factor: others[int(rng.integers(len(others)))]}
    return replace(scene, **changed)


def captions_and_foils(scene: Scene, seed: tuple[int, ...]) -> tuple[str, str]:
    """A caption with synonyms and dropped attributes, and one of a foil that says something else."""
    rng = np.random.default_rng(seed)
    said = caption(scene, rng, SOME)
    for _ in range(8):
        state = int(rng.integers(2**31))
        other = caption(foil(scene, rng), np.random.default_rng(state), SOME)
        if other != said:
            return said, other
    raise RuntimeError(f"no caption but {said!r} found for {scene}")


def _texts(pool: Pool, row: int) -> list[str]:
    scene = scene_of(pool, row)[0]
    pairs = (captions_and_foils(scene, (pool.seed, row, variant)) for variant in range(VARIANTS))
    return [text for pair in pairs for text in pair]


def texts_once(folder: Path, pool: Pool, rows: Labels, workers: int = 1) -> Tensor:
    """Word numbers int16 [n variants 2 t] of the scenes `rows`, kept in `folder`."""
    path = folder / f"encoder_{pool.name}_{len(rows)}_tokens.npy"
    if not path.exists():
        with processes(workers) as spread:
            each = spread(partial(_texts, pool), rows.tolist(), chunksize=500)
            texts = [text for some in tqdm(each, desc="captions", total=len(rows)) for text in some]
        parts = [encoder_tokens(texts[k : k + 10000], CONTEXT) for k in range(0, len(texts), 10000)]
        np.save(path, torch.cat(parts).reshape(len(rows), VARIANTS, 2, CONTEXT).short().numpy())
    return torch.from_numpy(np.load(path))


def without_strangers(labels: Labels) -> Labels:
    """The rows in which every factor has a known value."""
    return np.flatnonzero((labels != np.array([len(v) - 1 for v in CLASSES.values()])).all(1))


def contrastive_loss(images: Tensor, texts: Tensor, foils: Tensor, scale: Tensor) -> Tensor:
    """Unit vectors [n d] each. Pictures choose among all captions and foils, captions among all pictures."""
    truth = torch.arange(len(images), device=images.device)
    logits = scale * images @ torch.cat((texts, foils)).T  # [n 2n]
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits[:, : len(images)].T, truth)) / 2


def ranks_first(encoder: PocketEncoder, pictures: Pictures, captions: list[str], seed: int = 0) -> list[bool]:
    """For each picture, whether its caption scores above `RANKED - 1` others drawn from the rest."""
    scores = encoder.embed_images(pictures) @ encoder.embed_texts(captions).T
    rng, won = np.random.default_rng(seed), []
    for i in range(len(pictures)):
        others = [j for j in rng.permutation(len(captions)) if captions[j] != captions[i]][: RANKED - 1]
        won.append(bool(scores[i, i] > scores[i, others].max()))
    return won


class EncoderObjective(Objective[tuple[Tensor, Tensor]]):
    """Pictures and captions as unit vectors that find each other; `rounds` are round trips of the first pictures."""

    def __init__(
        self,
        model: Any,
        config: dict[str, Any],
        images: Tensor,
        rounds: Tensor,
        tokens: Tensor,
        batch: int,
        accelerator: Accelerator,
    ) -> None:
        self._model, self._config, self._accelerator = model, config, accelerator
        self._images, self._rounds, self._tokens, self._batch = images, rounds, tokens, batch
        size = model.visual.image_size
        self._size = size[0] if isinstance(size, tuple) else size

    def groups(self) -> Sequence[ParameterGroup]:
        return [learning(self._model, PEAK)]

    def batches(self, passes: Passes) -> Iterator[tuple[Tensor, Tensor]]:
        """Pictures x [b 3 s s] and their captions with foils [b 2 t]."""
        device = self._images.device
        for _ in passes.own:
            chosen = torch.randint(len(self._images), (self._batch,), device=device)
            trip = (chosen < len(self._rounds)) & (torch.rand(len(chosen), device=device) < 0.6)
            rounds = self._rounds[chosen.clamp(max=len(self._rounds) - 1)]
            x = torch.where(trip[:, None, None, None], rounds, self._images[chosen])
            x = worn(resized(x.permute(0, 3, 1, 2).float() / 127.5 - 1, self._size))
            yield x, self._tokens[chosen, torch.randint(VARIANTS, (len(chosen),), device=device)].long()

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, pair = batch
        with self._accelerator.autocast():
            seen = self._model.encode_image(x.contiguous(memory_format=torch.channels_last))
            said = self._model.encode_text(pair.transpose(0, 1).flatten(0, 1))
        seen, said = F.normalize(seen.float(), dim=-1), F.normalize(said.float(), dim=-1)
        true, foil = said.chunk(2)
        return contrastive_loss(seen, true, foil, self._model.logit_scale.exp())

    def updated(self) -> None:
        with torch.no_grad():
            self._model.logit_scale.clamp_(0, LOGIT_SCALE_LIMIT)

    def numbers(self, step: int) -> Mapping[str, float | str]:
        return {"pictures": step * self._batch}

    def state(self) -> Mapping[str, Tensor]:
        return buffers(self._model)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        restore_buffers(self._model, state)

    def export(self, path: Path, at: Reached) -> None:
        save(self._model, self._config, path)


def train(model: Any, config: dict[str, Any], work: Path, arguments: argparse.Namespace) -> None:
    device = torch.device(arguments.device)
    pictures, labels = labelled(work, DEVELOPMENT_POOL, arguments.pictures, arguments.workers)
    rows = without_strangers(labels)
    tokens = texts_once(work, DEVELOPMENT_POOL, rows, arguments.workers).to(device)
    known = np.array(pictures[rows])
    rounds = torch.from_numpy(round_trip(load_autoencoder(work, device), known[: len(known) // 3 + 1])).to(device)
    images = torch.from_numpy(known).to(device)

    torch.manual_seed(3)
    model = model.to(device, memory_format=torch.channels_last).train()
    settings = settings_for(
        cosine(150),
        arguments.steps,
        arguments.seconds,
        {"pictures": len(images), "batch": arguments.batch},
        betas=(0.9, 0.98),
        weight_decay=0.05,
        max_grad_norm=1.0,
        log_every=200,
        save_every=200,
    )
    precision, where = ("no", "cpu") if device.type == "cpu" else ("bf16", "auto")
    with accelerator_for(precision, where) as accelerator:
        objective = EncoderObjective(model, config, images, rounds, tokens, arguments.batch, accelerator)
        built(objective, settings, accelerator, work / "encoder.training")
    model.cpu().eval()


def save(model: Any, config: dict[str, Any], folder: Path) -> None:
    """Half-precision weights and the configuration, under open_clip's file names."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.cpu().contiguous() for k, v in model.state_dict().items()}
    save_file({k: v.half() if v.is_floating_point() else v for k, v in state.items()}, folder / WEIGHTS)
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    (folder / CONFIG).write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocessing}, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, checkpoint, log and result")
    parser.add_argument("--pictures", type=int, default=RECIPES["development"].pictures)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seconds", type=float, help="train for so long instead of for `--steps`")
    parser.add_argument("--batch", type=int, default=768)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw")
    parser.add_argument("--device", default=best_device())
    parser.add_argument("--held-out", type=int, default=HELD_OUT)
    parser.add_argument("--prepare-only", action="store_true", help="draw pictures and write captions, then stop")
    parser.add_argument("--ship", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    work = arguments.work
    _, labels = labelled(work, DEVELOPMENT_POOL, arguments.pictures, arguments.workers)
    fresh, _ = labelled(work, HELD_OUT_POOL, arguments.held_out, arguments.workers)
    texts_once(work, DEVELOPMENT_POOL, without_strangers(labels), arguments.workers)
    if arguments.prepare_only:
        return
    from lora_loom.studio.pocket.tokenizer import new_tokenizer

    config = configuration(len(new_tokenizer()))
    torch.manual_seed(2)
    model = new_model(config)
    train(model, config, work, arguments)
    encoder = PocketEncoder(model, config, "training", arguments.device)
    plain = [caption(scene_of(HELD_OUT_POOL, i)[0]) for i in range(len(fresh))]
    print(json.dumps({"first_of": RANKED, "share": float(np.mean(ranks_first(encoder, fresh, plain)))}))
    for folder in (work / "encoder", *((FOLDER,) if arguments.ship else ())):
        save(model, config, folder)


if __name__ == "__main__":
    main()
