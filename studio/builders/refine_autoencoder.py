"""Go on training a shipped autoencoder: `python -m lora_loom.studio.builders.refine_autoencoder --work DIR`.

Models are trained on the latents of the shipped encoder, so a new encoder must stay near it: the squared distance to
the old latents, in units of their spread, is part of the loss (`--anchor` times), and the decoder goes on learning to
decode the old latents beside the new ones. What was trained on the old latents then still works, and learns the
difference when it is trained on. `--old` names the autoencoder whose latents are meant when a run begins from another
one, as a second run in a row does. `--encoder-blocks` and `--decoder-blocks` give it more blocks, which begin as the
identity. The squared error counts by its logarithm per picture, as PSNR does. Writes `DIR/vae`,
`DIR/autoencoder_log.jsonl` and `DIR/autoencoder.json`, and with `--ship` puts the autoencoder into the package and the
log behind the package's.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor

from lora_loom.studio.builders import checkpoint
from lora_loom.studio.builders.autoencoder import crop, disguise, finish, material, options, psnr, to_tensor
from lora_loom.studio.builders.pace import Pace
from lora_loom.studio.builders.ship import ship_autoencoder
from lora_loom.studio.pocket import base_path

DISGUISED = 0.15  # of the batches
OLD_SHARE = 0.25  # of a batch that is also decoded from the old latents
LATENT_NOISE = 0.03  # the first training, with more of it, has made the decoder forgiving
PEAK = 3e-4
LEAST_ERROR = 2e-4  # squared, of values in [-1, 1]: an even surface must not outweigh all else


def batches(pictures: Tensor, batch: int, pace: Pace, first: int) -> Iterator[tuple[int, float, Tensor]]:
    """(step, share of the peak rate, crops [b 3 h/2 w/2] in [-1, 1]); a batch depends on its step alone."""
    for step, rate in pace.steps(first):
        rng = np.random.default_rng((23, step))
        rows = torch.from_numpy(np.sort(rng.integers(len(pictures), size=batch))).to(pictures.device)
        x = crop(pictures[rows], pictures.shape[-1] // 2, rng).float() / 127.5 - 1
        yield step, rate, disguise(x, rng) if rng.random() < DISGUISED else x


def grown(vae: Any, encoder_blocks: Sequence[int] | None, decoder_blocks: Sequence[int] | None) -> Any:
    """The same function with so many blocks per level, first to last; a new block stands at the end of its level.

    Raises ValueError for a level that would lose a block, or gain one without having any.
    """
    had = {"encoder": tuple(vae.config.num_encoder_blocks), "decoder": tuple(vae.config.num_decoder_blocks)}
    wanted = {"encoder": tuple(encoder_blocks or had["encoder"]), "decoder": tuple(decoder_blocks or had["decoder"])}
    counts = {f"num_{part}_blocks": blocks for part, blocks in wanted.items()}
    kept = {name: value for name, value in vae.config.items() if name != "block_out_channels"}  # written, never read
    new: Any = AutoencoderTiny.from_config({**kept, **counts})
    for part, blocks in wanted.items():
        pairs = list(zip(had[part], blocks, strict=True))
        if any(more < before or (more > before == 0) for before, more in pairs):
            raise ValueError(f"the {part} has {had[part]} blocks, which {blocks} does not extend")
        old_layers, layers = list(getattr(vae, part).layers), list(getattr(new, part).layers)
        is_block = [isinstance(layer, AutoencoderTinyBlock) for layer in old_layers]
        for before, more in pairs:  # both lists are taken apart from their fronts, level by level
            while not is_block[0]:
                is_block.pop(0)
                _copy(old_layers.pop(0), layers.pop(0))
            for _ in range(before):
                is_block.pop(0)
                _copy(old_layers.pop(0), layers.pop(0))
            for _ in range(more - before):
                last = layers.pop(0).conv[-1]
                torch.nn.init.zeros_(last.weight)
                torch.nn.init.zeros_(last.bias)
        for old_layer, layer in zip(old_layers, layers, strict=True):
            _copy(old_layer, layer)
    return new


def _copy(source: torch.nn.Module, target: torch.nn.Module) -> None:
    target.load_state_dict(source.state_dict())


def drift(vae: Any, old: Any, pictures: np.ndarray) -> float:
    """Root mean square distance of the latents of `vae` to those of `old`, over the spread of the old ones."""
    with torch.no_grad():
        x = to_tensor(pictures).to(next(vae.parameters()).device)
        before, after = old.encode(x).latents, vae.encode(x).latents
    return float((after - before).square().mean().sqrt() / before.std())


def refine(
    accelerator: Accelerator,
    vae: Any,
    old: Any,
    pictures: Tensor,
    fresh: np.ndarray,
    pace: Pace,
    batch: int,
    anchor: float,
    path: Path,
    log: checkpoint.Log,
    every: int = 100,
) -> None:
    """Train `vae` on, near the latents of `old`; resumes from `path`. `pictures` uint8 [n 3 h w] lie on the device."""
    with torch.no_grad():
        spread = float(old.encode(to_tensor(fresh).to(accelerator.device)).latents.var())
    optimizer: Any = torch.optim.AdamW(vae.parameters(), lr=PEAK, betas=(0.9, 0.99), weight_decay=0.0)
    first, running = 0, 0.0
    if state := checkpoint.load(path):
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    optimizer = accelerator.prepare(optimizer)

    def keep(step: int) -> None:
        log.write(
            phase="refined",
            step=step,
            pictures=step * batch,
            loss=running,
            psnr=psnr(vae, fresh),
            drift=drift(vae, old, fresh),
        )
        checkpoint.save(path, step, {"model": vae.state_dict(), "optimizer": optimizer.state_dict()})

    for step, rate, crops in batches(pictures, batch, pace, first):
        x = crops.to(accelerator.device).contiguous(memory_format=torch.channels_last)
        both = max(1, round(batch * OLD_SHARE))
        with accelerator.autocast():
            with torch.no_grad():
                before = old.encode(x).latents
            z = vae.encode(x).latents
            inputs = torch.cat((z, before[:both]))
            y = vae.decode(inputs + LATENT_NOISE * torch.randn_like(inputs)).sample.float()
        error = y - torch.cat((x, x[:both]))
        apart = (z.float() - before.float()).square().mean() / spread
        squared = error.square().mean((1, 2, 3))
        loss = 0.15 * error.abs().mean() + 0.025 * (squared + LEAST_ERROR).log().mean() + anchor * apart
        for group in optimizer.param_groups:
            group["lr"] = PEAK * rate
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(vae.parameters(), 0.3)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        running = 0.98 * running + 0.02 * float(loss.detach()) if running else float(loss.detach())
        if (step + 1) % every == 0:
            keep(step + 1)
    if pace.last > first and pace.last % every:
        keep(pace.last)


def main() -> None:
    parser = options(__doc__, steps=1500, pictures=6000)
    parser.add_argument("--start", type=Path, default=base_path() / "vae", help="the autoencoder to go on from")
    parser.add_argument(
        "--old", type=Path, help="the autoencoder whose latents stay known; the one of --start if absent"
    )
    parser.add_argument("--anchor", type=float, default=0.03, help="weight of the distance to the old latents")
    parser.add_argument("--encoder-blocks", type=int, nargs=4, help="blocks per level from the finest grid")
    parser.add_argument("--decoder-blocks", type=int, nargs=4, help="blocks per level from the coarsest grid")
    parser.add_argument("--ship", action="store_true", help="replace the autoencoder of the package")
    arguments = parser.parse_args()
    work: Path = arguments.work
    torch.manual_seed(0)
    accelerator = Accelerator(mixed_precision=arguments.precision)
    pictures, fresh = material(arguments, accelerator.device)
    vae: Any = AutoencoderTiny.from_pretrained(arguments.start, torch_dtype=torch.float32)
    old: Any = AutoencoderTiny.from_pretrained(arguments.old or arguments.start, torch_dtype=torch.float32)
    old = old.to(accelerator.device, memory_format=torch.channels_last).eval().requires_grad_(False)
    vae = grown(vae, arguments.encoder_blocks, arguments.decoder_blocks)
    vae = vae.to(accelerator.device, memory_format=torch.channels_last).train()
    log = checkpoint.Log(work / "autoencoder_log.jsonl")
    pace = Pace(arguments.steps, arguments.seconds, warm_up=50, falling=1.0)
    path = work / "autoencoder_refined.ckpt"
    refine(accelerator, vae, old, pictures, fresh[:50], pace, arguments.batch, arguments.anchor, path, log)
    finish(vae, fresh, work, rescale=False)  # the scaling factor stays: the models know it
    if arguments.ship:
        ship_autoencoder(work / "vae", base_path() / "vae")
        with (base_path() / "autoencoder_log.jsonl").open("a") as shipped:
            shipped.write((work / "autoencoder_log.jsonl").read_text())


if __name__ == "__main__":
    main()
