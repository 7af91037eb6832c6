"""Train the pocket encoder: `python -m lora_loom.studio.builders.encoder --work DIR`.

Contrastive (arXiv 2103.00020, section 2.3) on pictures and captions of the pocket world. Every picture also meets a
foil: the caption of the same scene with one factor exchanged, so that the encoder cannot live on the easy half of the
differences. It learns from the development judge's pictures and needs `DIR/vae` for round trips. Writes
`DIR/encoder/` in open_clip's file names and, unless `--no-ship`, the same into the package.
"""

import argparse
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from lora_loom.studio.builders import checkpoint
from lora_loom.studio.builders.judge import DEVELOPMENT_POOL, HELD_OUT, HELD_OUT_POOL, RECIPES
from lora_loom.studio.builders.labelled import VALUES, Labels, Pictures, Pool, labelled, processes, scene_of
from lora_loom.studio.builders.round_trips import load_autoencoder, round_trip
from lora_loom.studio.builders.sampling import best_device
from lora_loom.studio.builders.training_clock import TrainingClock
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


def train(model: Any, work: Path, arguments: argparse.Namespace, log: checkpoint.Log) -> Any:
    device = torch.device(arguments.device)
    pictures, labels = labelled(work, DEVELOPMENT_POOL, arguments.pictures, arguments.workers)
    rows = without_strangers(labels)
    tokens = texts_once(work, DEVELOPMENT_POOL, rows, arguments.workers).to(device)
    known = np.array(pictures[rows])
    rounds = torch.from_numpy(round_trip(load_autoencoder(work, device), known[: len(known) // 3 + 1])).to(device)
    images = torch.from_numpy(known).to(device)

    torch.manual_seed(3)
    model = model.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK, betas=(0.9, 0.98), weight_decay=0.05)
    clock, path = TrainingClock(arguments.steps, arguments.seconds), work / "encoder.ckpt"
    if state := checkpoint.load(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        clock.step, clock.before = state["step"], state["elapsed"]
    size = model.visual.image_size
    size = size[0] if isinstance(size, tuple) else size
    while clock.share() < 1:
        for group in optimizer.param_groups:
            group["lr"] = clock.rate(PEAK, 150)
        chosen = torch.randint(len(images), (arguments.batch,), device=device)
        trip = (chosen < len(rounds)) & (torch.rand(len(chosen), device=device) < 0.6)
        x = torch.where(trip[:, None, None, None], rounds[chosen.clamp(max=len(rounds) - 1)], images[chosen])
        x = worn(resized(x.permute(0, 3, 1, 2).float() / 127.5 - 1, size))
        pair = tokens[chosen, torch.randint(VARIANTS, (len(chosen),), device=device)].long()  # [b 2 t]
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            seen = model.encode_image(x.contiguous(memory_format=torch.channels_last))
            said = model.encode_text(pair.transpose(0, 1).flatten(0, 1))
        seen, said = F.normalize(seen.float(), dim=-1), F.normalize(said.float(), dim=-1)
        true, foil = said.chunk(2)
        loss = contrastive_loss(seen, true, foil, model.logit_scale.exp())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            model.logit_scale.clamp_(0, LOGIT_SCALE_LIMIT)
        clock.step += 1
        if clock.step % 200 == 0 or clock.share() >= 1:
            log.write(step=clock.step, pictures=clock.step * arguments.batch, loss=float(loss.detach()))
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "elapsed": clock.elapsed()}
            checkpoint.save(path, clock.step, state)
    return model.cpu().eval()


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
    parser.add_argument("--seconds", type=float, default=0.0, help="train for so long instead of for `--steps`")
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

    log = checkpoint.Log(work / "encoder_log.jsonl")
    config = configuration(len(new_tokenizer()))
    model = train(new_model(config), work, arguments, log)
    encoder = PocketEncoder(model, config, "training", arguments.device)
    plain = [caption(scene_of(HELD_OUT_POOL, i)[0]) for i in range(len(fresh))]
    log.write(first_of=RANKED, share=float(np.mean(ranks_first(encoder, fresh, plain))))
    for folder in (work / "encoder", *((FOLDER,) if arguments.ship else ())):
        save(model, config, folder)


if __name__ == "__main__":
    main()
