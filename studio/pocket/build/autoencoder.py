"""Train the pocket autoencoder: `python -m studio.pocket.build.autoencoder --work DIR`.

It learns from base pictures only, of which it takes a part apart (crops are mirrored, turned, their channels
exchanged, two pictures joined along a line), so that it is a codec for drawings in general and not for the values it
has seen. Most of the run sees half-size crops, which cost a quarter. Loss: L1 and twice the squared error, with a
light pull of the latents to zero; a little noise on the latents makes the decoder forgiving. `--decoder-steps` goes
on with the decoder alone, which leaves the latents, and so every model trained on them, as they are.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny
from torch import Tensor

from studio.pocket.build import checkpoint
from studio.pocket.build.pictures import base_scenes, draw, drawn_once

LATENT_NOISE = 0.05
PEAK = 2e-3  # learning rate
DISGUISED = 0.3  # of the batches


def new_autoencoder(encoder_width: int = 32, decoder_width: int = 48, latent_channels: int = 8) -> AutoencoderTiny:
    """A convolutional autoencoder without normalisation; f = 4, because the first of three levels keeps the size."""
    return AutoencoderTiny(
        encoder_block_out_channels=(encoder_width,) * 3,
        decoder_block_out_channels=(decoder_width,) * 3,
        num_encoder_blocks=(1, 1, 2),
        num_decoder_blocks=(2, 2, 1),
        latent_channels=latent_channels,
    )


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [n h w 3] to float [n 3 h w] in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def crop(x: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """The same random window of `size` pixels from every picture."""
    top, left = rng.integers(0, x.shape[-1] - size + 1, 2)
    return x[..., top : top + size, left : left + size]


def disguise(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror, turn, exchange channels, invert, join with a neighbour along a random line. x [b 3 h w]."""
    x = torch.rot90(x, int(rng.integers(4)), (2, 3))
    if rng.random() < 0.5:
        x = x.flip(3)
    if rng.random() < 0.25:
        x = x[:, torch.from_numpy(rng.permutation(3))]
    if rng.random() < 0.05:
        x = -x
    if rng.random() < 0.2:
        edge = int(rng.integers(4, x.shape[-1] - 4))
        x = torch.cat((x[..., :edge], x.roll(1, 0)[..., edge:]), -1)
    return x


def psnr(vae: Any, pictures: np.ndarray) -> float:
    """Mean PSNR in dB of round trips over uint8 pictures, on the 8-bit scale."""
    with torch.no_grad():
        x = to_tensor(pictures)
        y = torch.cat([vae.decode(vae.encode(part).latents).sample for part in x.split(50)])
    error = ((x.clamp(-1, 1) - y.clamp(-1, 1)) * 127.5).square().flatten(1).mean(1)
    return float((10 * torch.log10(255**2 / error)).mean())


def fit(
    accelerator: Accelerator,
    vae: Any,
    pictures: np.ndarray,
    fresh: np.ndarray,
    steps: int,
    batch: int,
    path: Path,
    log: checkpoint.Log,
) -> None:
    """Train the parameters of `vae` that require gradients for `steps`, or the rest of them after an interruption."""
    learnt = [p for p in vae.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learnt, lr=PEAK, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=steps + 1, pct_start=0.1)
    first, size, running = 0, pictures.shape[1], 0.0
    if state := checkpoint.load(path):
        vae.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = schedule.last_epoch = state["step"]
    optimizer = accelerator.prepare(optimizer)
    for step in range(first, steps):
        rng = np.random.default_rng((21, len(learnt), step))
        x = to_tensor(pictures[np.sort(rng.integers(len(pictures), size=batch))])
        x = crop(x, size // 2, rng)
        x = (disguise(x, rng) if rng.random() < DISGUISED else x).to(accelerator.device)
        with accelerator.autocast():
            z = vae.encode(x).latents
            y = vae.decode(z + LATENT_NOISE * torch.randn_like(z)).sample.float()
        error = y - x
        loss = error.abs().mean() + 2 * error.square().mean() + 1e-4 * z.float().square().mean()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        running = float(loss.detach()) if step == first else 0.98 * running + 0.02 * float(loss.detach())
        if (step + 1) % 250 == 0 or step + 1 == steps:
            phase = "both" if len(learnt) == len(list(vae.parameters())) else "decoder"
            log.write(phase=phase, step=step + 1, pictures=(step + 1) * batch, loss=running, psnr=psnr(vae, fresh))
            state = {"model": vae.state_dict(), "optimizer": optimizer.state_dict()}
            checkpoint.save(path, step + 1, state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, checkpoint, log and result")
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--decoder-steps", type=int, default=0, help="further steps of the decoder alone")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=12000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--precision", default="bf16", choices=("no", "bf16", "fp16"))
    arguments = parser.parse_args()
    pictures = drawn_once(
        arguments.work / "autoencoder_pictures.npy", arguments.pictures, arguments.size, seed=11, jitter=1.5
    )
    fresh = draw(base_scenes(200, seed=12), arguments.size)

    torch.manual_seed(0)
    accelerator = Accelerator(mixed_precision=arguments.precision)
    vae: Any = new_autoencoder().to(accelerator.device)
    log = checkpoint.Log(arguments.work / "autoencoder_log.jsonl")
    fit(
        accelerator,
        vae,
        pictures,
        fresh[:100],
        arguments.steps,
        arguments.batch,
        arguments.work / "autoencoder.ckpt",
        log,
    )
    if arguments.decoder_steps:
        vae.encoder.requires_grad_(False)
        path = arguments.work / "autoencoder_decoder.ckpt"
        fit(accelerator, vae, pictures, fresh[:100], arguments.decoder_steps, arguments.batch, path, log)
    vae.cpu()
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latents for part in to_tensor(fresh).split(50)])
    vae.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=0.0)
    vae.eval().save_pretrained(arguments.work / "vae")
    result = {
        "psnr": psnr(vae, fresh),
        "latent_std": float(latents.std()),
        "latent_mean": latents.mean((0, 2, 3)).tolist(),
    }
    (arguments.work / "autoencoder.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
