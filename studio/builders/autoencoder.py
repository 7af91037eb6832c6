"""Train the pocket autoencoder: `python -m lora_loom.studio.builders.autoencoder --work DIR`.

It learns from base pictures only, of which it takes a part apart (crops are mirrored, turned, their channels
exchanged, two pictures joined along a line), so that it is a codec for drawings in general and not for the values it
has seen. It sees half-size crops, which cost a quarter. `--seconds` ends the run by the clock, for a machine that is
there for a while only. Loss: L1 and twice the squared error, with a
light pull of the latents to zero; a little noise on the latents makes the decoder forgiving. `--decoder-steps` goes
on with the decoder alone, which leaves the latents, and so every model trained on them, as they are.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny
from torch import Tensor

from lora_loom.pipelines.training.loop_settings import plateau
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached
from lora_loom.studio.builders.pictures import SIZE, base_scenes, draw, drawn_once
from lora_loom.studio.builders.training import built, learning, settings_for, write_log

LATENT_NOISE = 0.05
PEAK = 2e-3  # learning rate
DISGUISED = 0.3  # of the batches


def new_autoencoder(encoder_width: int = 48, decoder_width: int = 48, latent_channels: int = 8) -> AutoencoderTiny:
    """A convolutional autoencoder without normalisation; f = 8, because the first of four levels keeps the size."""
    return AutoencoderTiny(
        encoder_block_out_channels=(encoder_width,) * 4,
        decoder_block_out_channels=(decoder_width,) * 4,
        num_encoder_blocks=(1, 1, 2, 3),
        num_decoder_blocks=(3, 3, 2, 1),
        latent_channels=latent_channels,
    )


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [n h w 3] to float [n 3 h w] in [-1, 1]."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def crop(x: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """The same random window of `size` pixels from every picture."""
    top, left = rng.integers(0, x.shape[-1] - size + 1, 2)
    return x[..., top : top + size, left : left + size]


def cropped(pictures: Tensor, batch: int, rng: np.random.Generator) -> Tensor:
    """Half-size crops [b 3 h/2 w/2] in [-1, 1] of pictures uint8 [n 3 h w]."""
    rows = torch.from_numpy(np.sort(rng.integers(len(pictures), size=batch))).to(pictures.device)
    return crop(pictures[rows], pictures.shape[-1] // 2, rng).float() / 127.5 - 1


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


def psnr_of_each(vae: Any, pictures: np.ndarray) -> np.ndarray:
    """PSNR in dB of the round trip of each uint8 picture, on the 8-bit scale."""
    device, errors = next(vae.parameters()).device, []
    with torch.no_grad():
        for part in to_tensor(pictures).split(25):
            x = part.to(device)
            y = vae.decode(vae.encode(x).latents).sample.float()
            errors.append(((x.clamp(-1, 1) - y.clamp(-1, 1)) * 127.5).square().flatten(1).mean(1))
    return (10 * torch.log10(255**2 / torch.cat(errors))).cpu().numpy()


def psnr(vae: Any, pictures: np.ndarray) -> float:
    return float(psnr_of_each(vae, pictures).mean())


class AutoencoderObjective(Objective[Tensor]):
    """The parameters of `vae` that require gradients learn to give pictures back.

    `pictures` uint8 [n 3 h w] lie on the device, `fresh` uint8 [n h w 3] measure.
    """

    def __init__(self, vae: Any, pictures: Tensor, fresh: np.ndarray, batch: int, accelerator: Accelerator) -> None:
        self._vae, self._pictures, self._fresh = vae, pictures, fresh
        self._batch, self._accelerator = batch, accelerator
        self._learnt = sum(value.requires_grad for value in vae.parameters())
        self._phase = "both" if self._learnt == len(list(vae.parameters())) else "decoder"

    def groups(self) -> Sequence[ParameterGroup]:
        return [learning(self._vae, PEAK)]

    def batches(self, passes: Passes) -> Iterator[Tensor]:
        for number in passes.numbered:
            rng = np.random.default_rng((21, self._learnt, number))
            x = cropped(self._pictures, self._batch, rng)
            x = disguise(x, rng) if rng.random() < DISGUISED else x
            yield x.contiguous(memory_format=torch.channels_last)

    def loss(self, batch: Tensor) -> Tensor:
        with self._accelerator.autocast():
            z = self._vae.encode(batch).latents
            y = self._vae.decode(z + LATENT_NOISE * torch.randn_like(z)).sample.float()
        error = y - batch
        return error.abs().mean() + 2 * error.square().mean() + 1e-4 * z.float().square().mean()

    def numbers(self, step: int) -> Mapping[str, float | str]:
        quality = psnr(self._vae, self._fresh[:50])
        return {"phase": self._phase, "pictures": step * self._batch, "psnr": quality}

    def export(self, path: Path, at: Reached) -> None:
        finish(self._vae, self._fresh, path, rescale=True)


def options(description: str | None, *, steps: int, pictures: int) -> argparse.ArgumentParser:
    """The options that every training of an autoencoder has, with these defaults."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="folder for pictures, checkpoint, log and result")
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--seconds", type=float, help="end by the clock instead of after --steps")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=pictures)
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--workers", type=int, default=1, help="processes that draw the pictures")
    parser.add_argument("--precision", default="bf16", choices=("no", "bf16", "fp16"))
    return parser


def material(arguments: argparse.Namespace, device: torch.device) -> tuple[Tensor, np.ndarray]:
    """Training pictures uint8 [n 3 h w] on the device, and 200 fresh ones uint8 [n h w 3]."""
    path = arguments.work / "autoencoder_pictures.npy"
    drawn = drawn_once(path, arguments.pictures, arguments.size, 11, 1.5, arguments.workers)
    fresh = draw(base_scenes(200, seed=12), arguments.size)
    return torch.from_numpy(np.array(drawn)).permute(0, 3, 1, 2).contiguous().to(device), fresh


def finish(vae: Any, fresh: np.ndarray, work: Path, *, rescale: bool) -> None:
    """Write `work`/vae and what can be said of it; `rescale` makes the latents of unit spread for a model to come."""
    vae = vae.cpu().float().eval()
    with torch.no_grad():
        latents = torch.cat([vae.encode(part).latents for part in to_tensor(fresh).split(50)])
    if rescale:
        vae.register_to_config(scaling_factor=float(1 / latents.std()), shift_factor=0.0)
    vae.save_pretrained(work / "vae")
    result = {
        "psnr": psnr(vae, fresh),
        "latent_std": float(latents.std()),
        "latent_mean": latents.mean((0, 2, 3)).tolist(),
    }
    (work / "autoencoder.json").write_text(json.dumps(result, indent=1))
    print(json.dumps(result))


def main() -> None:
    parser = options(__doc__, steps=3500, pictures=12000)
    parser.add_argument("--decoder-steps", type=int, default=0, help="further steps of the decoder alone")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    accelerator = Accelerator(mixed_precision=arguments.precision)
    pictures, fresh = material(arguments, accelerator.device)
    vae: Any = new_autoencoder().to(accelerator.device, memory_format=torch.channels_last)
    phases = [("both", arguments.steps, arguments.seconds, 200)]
    if arguments.decoder_steps:
        phases.append(("decoder", arguments.decoder_steps, None, 100))
    folders = [arguments.work / f"autoencoder_{name}.training" for name, *_ in phases]
    for (name, steps, seconds, warm_up), folder in zip(phases, folders, strict=True):
        vae.encoder.requires_grad_(name == "both")
        objective = AutoencoderObjective(vae, pictures, fresh, arguments.batch, accelerator)
        settings = settings_for(
            plateau(warm_up, falling=0.9),
            steps,
            seconds,
            {"phase": name, "pictures": len(pictures), "size": arguments.size, "batch": arguments.batch},
            betas=(0.9, 0.99),
            max_grad_norm=1.0,
            log_every=250,
            save_every=250,
        )
        done = built(objective, settings, accelerator, folder)
    write_log(arguments.work / "autoencoder_log.jsonl", *folders)
    objective.export(arguments.work, done.reached)


if __name__ == "__main__":
    main()
