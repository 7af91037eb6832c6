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

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor

from lora_loom.pipelines.training.loop_settings import LoopSettings, plateau
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached
from lora_loom.studio.builders.autoencoder import cropped, disguise, finish, material, options, psnr, to_tensor
from lora_loom.studio.builders.ship import ship_autoencoder
from lora_loom.studio.builders.training import built, learning, settings_for, write_log
from lora_loom.studio.pocket import base_path

DISGUISED = 0.15  # of the batches
OLD_SHARE = 0.25  # of a batch that is also decoded from the old latents
LATENT_NOISE = 0.03  # the first training, with more of it, has made the decoder forgiving
PEAK = 3e-4
LEAST_ERROR = 2e-4  # squared, of values in [-1, 1]: an even surface must not outweigh all else


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


class RefinementObjective(Objective[Tensor]):
    """`vae` learns on, near the latents of `old`. `pictures` uint8 [n 3 h w] lie on the device, `fresh` measure."""

    def __init__(
        self,
        vae: Any,
        old: Any,
        pictures: Tensor,
        fresh: np.ndarray,
        batch: int,
        anchor: float,
        accelerator: Accelerator,
    ) -> None:
        self._vae, self._old, self._pictures, self._fresh = vae, old, pictures, fresh
        self._batch, self._anchor, self._accelerator = batch, anchor, accelerator
        with torch.no_grad():
            self._spread = float(old.encode(to_tensor(fresh[:50]).to(accelerator.device)).latents.var())

    def groups(self) -> Sequence[ParameterGroup]:
        return [learning(self._vae, PEAK)]

    def batches(self, passes: Passes) -> Iterator[Tensor]:
        for number in passes.numbered:
            rng = np.random.default_rng((23, number))
            x = cropped(self._pictures, self._batch, rng)
            x = disguise(x, rng) if rng.random() < DISGUISED else x
            yield x.contiguous(memory_format=torch.channels_last)

    def loss(self, batch: Tensor) -> Tensor:
        both = max(1, round(self._batch * OLD_SHARE))
        with self._accelerator.autocast():
            with torch.no_grad():
                before = self._old.encode(batch).latents
            z = self._vae.encode(batch).latents
            inputs = torch.cat((z, before[:both]))
            y = self._vae.decode(inputs + LATENT_NOISE * torch.randn_like(inputs)).sample.float()
        error = y - torch.cat((batch, batch[:both]))
        apart = (z.float() - before.float()).square().mean() / self._spread
        squared = error.square().mean((1, 2, 3))
        return 0.15 * error.abs().mean() + 0.025 * (squared + LEAST_ERROR).log().mean() + self._anchor * apart

    def numbers(self, step: int) -> Mapping[str, float | str]:
        quality, apart = psnr(self._vae, self._fresh[:50]), drift(self._vae, self._old, self._fresh[:50])
        return {"phase": "refined", "pictures": step * self._batch, "psnr": quality, "drift": apart}

    def export(self, path: Path, at: Reached) -> None:
        finish(self._vae, self._fresh, path, rescale=False)  # the scaling factor stays: the models know it


def refinement(steps: int, seconds: float | None, recorded: Mapping[str, Any], every: int = 100) -> LoopSettings:
    """The loop of a refinement, which begins at once and slows down all the time."""
    return settings_for(
        plateau(warm_up=50, falling=1.0),
        steps,
        seconds,
        recorded,
        betas=(0.9, 0.99),
        max_grad_norm=0.3,
        log_every=every,
        save_every=every,
    )


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
    objective = RefinementObjective(vae, old, pictures, fresh, arguments.batch, arguments.anchor, accelerator)
    recorded = {"pictures": len(pictures), "batch": arguments.batch, "anchor": arguments.anchor}
    folder = work / "autoencoder_refined.training"
    done = built(objective, refinement(arguments.steps, arguments.seconds, recorded), accelerator, folder)
    write_log(work / "autoencoder_log.jsonl", folder)
    objective.export(work, done.reached)
    if arguments.ship:
        ship_autoencoder(work / "vae", base_path() / "vae")
        with (base_path() / "autoencoder_log.jsonl").open("a") as shipped:
            shipped.write((work / "autoencoder_log.jsonl").read_text())


if __name__ == "__main__":
    main()
