"""The data of a training, ready to be looked up by row: latents, captions, and the base's own pictures if wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lora_loom.pipelines.training.base_model import picture_size
from lora_loom.pipelines.training.captions import (
    CaptionBook,
    TextStates,
    cache_captions,
    caption_book,
    check_trigger,
    overlong,
)
from lora_loom.pipelines.training.draws import Draws, draw_step
from lora_loom.pipelines.training.items import TrainingItem
from lora_loom.pipelines.training.pictures import encode_pictures
from lora_loom.pipelines.training.samples import prior_captions, prior_latents
from lora_loom.pipelines.training.settings import LoraTraining


@dataclass(frozen=True)
class TrainingData:
    """Rows 0 .. num_items - 1 are the training pictures, the rest the prior ones.

    `states` is None where the text encoders are trained: then captions are encoded in every step.
    """

    latents: Tensor  # [n c h w] on the training device
    num_items: int
    book: CaptionBook
    states: TextStates | None
    size: int
    fingerprint: str
    overlong_captions: int

    @property
    def captions(self) -> list[str]:
        """The captions of the training pictures, picture by picture."""
        return [self.book.texts[row] for rows in self.book.rows_by_item[: self.num_items] for row in rows]

    @property
    def prior(self) -> Tensor:
        """Latents of the prior pictures, [0 c h w] without prior preservation."""
        return self.latents[self.num_items :]

    def draw(self, settings: LoraTraining, step: int, batch: int, num_timesteps: int) -> tuple[Draws, Draws | None]:
        """The draws of one step for `batch` training pictures, and as many for the prior ones if there are any."""
        shape = tuple(self.latents.shape[1:])
        own = draw_step(
            settings.seed,
            "pictures",
            step,
            batch=batch,
            first_item=0,
            caption_rows=self.book.rows_by_item[: self.num_items],
            caption_dropout=settings.caption_dropout,
            num_timesteps=num_timesteps,
            latent_shape=shape,
            weight=1.0,
        )
        if len(self.latents) == self.num_items:
            return own, None
        prior = draw_step(
            settings.seed,
            "prior",
            step,
            batch=batch,
            first_item=self.num_items,
            caption_rows=self.book.rows_by_item[self.num_items :],
            caption_dropout=0.0,
            num_timesteps=num_timesteps,
            latent_shape=shape,
            weight=settings.prior_weight,
        )
        return own, prior


def prepare_data(
    pipe: Any, settings: LoraTraining, items: Sequence[TrainingItem], saved_prior: Tensor | None = None
) -> TrainingData:
    """Encode everything once. `saved_prior` are the prior latents of a run that goes on; else the base draws them."""
    size = picture_size(pipe, settings)
    check_trigger(pipe, settings.trigger)
    captions = caption_book(items, settings)  # before any picture is read: a bad template should not cost minutes
    latents, fingerprint = encode_pictures(pipe, items, size)
    prompts = prior_captions(settings, captions.texts[1:]) if settings.prior_weight > 0 else ()
    if prompts:
        prior = prior_latents(pipe, settings, prompts, size) if saved_prior is None else saved_prior
        latents = torch.cat((latents, prior))
    book = caption_book(items, settings, prompts)
    states = cache_captions(pipe, book.texts) if settings.text_encoder_learning_rate == 0 else None
    return TrainingData(
        latents=latents.to(pipe.unet.device),
        num_items=len(items),
        book=book,
        states=states,
        size=size,
        fingerprint=fingerprint,
        overlong_captions=overlong(pipe, book.texts),
    )
