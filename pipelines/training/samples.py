"""Pictures drawn by the base with the LoRA as it stands: the same noise every time, so that only the training shows."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from lora_loom.pipelines.training.captions import CaptionBook, without_word
from lora_loom.pipelines.training.draws import generator_for
from lora_loom.pipelines.training.pictures import decode_latents
from lora_loom.pipelines.training.settings import LoraTraining

PRIOR_BATCH = 8


def sample_grid(
    pipe: Any,
    components: Mapping[str, nn.Module],
    settings: LoraTraining,
    prompts: Sequence[str],
    columns: int,
    size: int,
) -> Image.Image:
    """One row per prompt, one column per noise; column k has the same noise in every row and at every step."""
    grid = Image.new("RGB", (columns * size, len(prompts) * size))
    with _drawing(components):
        for row, prompt in enumerate(prompts):
            noise = [generator_for(settings.seed, "sample", column) for column in range(columns)]
            latents = _draw(pipe, [prompt] * columns, noise, settings, size)
            for column, picture in enumerate(decode_latents(pipe, latents)):
                grid.paste(picture, (column * size, row * size))
    return grid


def sample_prompts(settings: LoraTraining, book: CaptionBook) -> tuple[str, ...]:
    """The prompts of the grid: those that were set, else the first captions."""
    return settings.sample_prompts or book.texts[1:5]


def prior_captions(settings: LoraTraining, captions: Sequence[str]) -> tuple[str, ...]:
    """What the base is to draw of itself, one prompt per picture: the one that was set, or the captions in turn
    with the trigger word taken out."""
    plain = [settings.prior_prompt] if settings.prior_prompt else list(dict.fromkeys(captions))
    if settings.trigger and not settings.prior_prompt:
        plain = list(dict.fromkeys(without_word(text, settings.trigger) for text in plain))
    return tuple(plain[index % len(plain)] for index in range(settings.prior_images))


def prior_latents(pipe: Any, settings: LoraTraining, prompts: Sequence[str], size: int) -> Tensor:
    """Latents [n c h w] in float32 of what the base draws before it is trained, one per prompt (DreamBooth's prior
    preservation, arXiv:2208.12242 section 3.2); latents are used as they are, without a way through pixels."""
    parts: list[Tensor] = []
    for start in range(0, len(prompts), PRIOR_BATCH):
        batch = list(prompts[start : start + PRIOR_BATCH])
        noise = [generator_for(settings.seed, "prior picture", start + index) for index in range(len(batch))]
        parts.append(_draw(pipe, batch, noise, settings, size).float().cpu())
    return torch.cat(parts)


def _draw(pipe: Any, prompts: Sequence[str], noise: list[torch.Generator], settings: LoraTraining, size: int) -> Tensor:
    """Latents [n c h w] of one picture per prompt."""
    output = pipe(
        prompt=list(prompts),
        generator=noise,
        num_inference_steps=settings.sample_steps,
        guidance_scale=settings.sample_guidance,
        height=size,
        width=size,
        output_type="latent",
    )
    return output.images


@contextmanager
def _drawing(components: Mapping[str, nn.Module]) -> Generator[None]:
    """Out of training mode for a moment, back into it afterwards."""
    modes = {module: module.training for module in components.values()}
    try:
        for module in modes:
            module.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.train(mode)
