"""Everything a training step draws at random, as a pure function of (seed, step): a resume needs no generator state.

One step draws for its whole effective batch at once and is then cut into forward passes, so splitting a batch by
gradient accumulation or over processes changes no draw.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """The random part of b training rows: which latents and captions, which timestep, which noise, what it counts."""

    items: Tensor  # [b] rows of the latent table
    captions: Tensor  # [b] rows of the caption table; 0 where the caption is dropped
    timesteps: Tensor  # [b]
    noise: Tensor  # [b c h w]
    weights: Tensor  # [b]

    def rows(self, part: slice) -> Draws:
        return Draws(self.items[part], self.captions[part], self.timesteps[part], self.noise[part], self.weights[part])

    @staticmethod
    def join(first: Draws, second: Draws) -> Draws:
        return Draws(
            torch.cat((first.items, second.items)),
            torch.cat((first.captions, second.captions)),
            torch.cat((first.timesteps, second.timesteps)),
            torch.cat((first.noise, second.noise)),
            torch.cat((first.weights, second.weights)),
        )


def generator_for(seed: int, purpose: str, index: int) -> torch.Generator:
    """A generator of its own for one purpose and index; neighbours are unrelated because the key is hashed."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def items_of_step(seed: int, purpose: str, step: int, batch: int, count: int) -> list[int]:
    """Positions step * batch and on in an endless row of shuffled epochs over `count` items."""
    positions = range(step * batch, (step + 1) * batch)
    return [_epoch(seed, purpose, position // count, count)[position % count] for position in positions]


def draw_step(
    seed: int,
    purpose: str,
    step: int,
    *,
    batch: int,
    first_item: int,
    caption_rows: Sequence[Sequence[int]],
    caption_dropout: float,
    num_timesteps: int,
    latent_shape: tuple[int, ...],
    weight: float,
) -> Draws:
    """The draws of one step for `batch` rows over the items first_item .. first_item + len(caption_rows)."""
    generator = generator_for(seed, purpose, step)
    items = items_of_step(seed, purpose, step, batch, len(caption_rows))
    choice = [float(u) for u in torch.rand(batch, generator=generator)]  # [0, 1)
    dropped = torch.rand(batch, generator=generator) < caption_dropout
    captions = torch.tensor(
        [rows[int(u * len(rows))] for u, rows in zip(choice, (caption_rows[item] for item in items), strict=True)]
    )
    return Draws(
        items=torch.tensor(items) + first_item,
        captions=captions.masked_fill(dropped, 0),
        timesteps=torch.randint(0, num_timesteps, (batch,), generator=generator),
        noise=torch.randn((batch, *latent_shape), generator=generator),
        weights=torch.full((batch,), weight),
    )


@lru_cache(maxsize=8)
def _epoch(seed: int, purpose: str, epoch: int, count: int) -> tuple[int, ...]:
    order = torch.randperm(count, generator=generator_for(seed, f"{purpose} epoch", epoch))
    return tuple(int(index) for index in order)
