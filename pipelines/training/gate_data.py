"""The data of a gate's training: pictures that show several concepts at once, by the set of adapters they show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.base_model import picture_size
from lora_loom.pipelines.training.captions import TextStates, cache_captions
from lora_loom.pipelines.training.draws import generator_for, items_of_step
from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.pipelines.training.items import TrainingItem, listed
from lora_loom.pipelines.training.pictures import encode_pictures

Set = tuple[str, ...]


@dataclass(frozen=True)
class GateItem:
    """One picture with its caption, and the adapters whose concepts it shows."""

    item: TrainingItem
    adapters: Set


@dataclass(frozen=True)
class SetBatch:
    """The random part of one set's b rows: which pictures, whose captions are dropped, which timesteps and noise."""

    adapters: Set
    latents: Tensor  # [b c h w]
    text: TextStates
    timesteps: Tensor  # [b]
    noise: Tensor  # [b c h w]


@dataclass(frozen=True)
class GateData:
    """Latents and text states of all pictures; `rows` are those of each set. Text row 0 of a set is no caption."""

    latents: Tensor  # [n c h w]
    rows: Mapping[Set, tuple[int, ...]]
    states: Mapping[Set, TextStates]
    size: int
    fingerprint: str

    def draw(self, settings: GateTraining, step: int, num_timesteps: int) -> list[SetBatch]:
        """The sets of one forward pass, the same for one (seed, step)."""
        sets = list(self.rows)
        chosen = items_of_step(settings.seed, "gate sets", step, settings.sets_per_step, len(sets))
        generator = generator_for(settings.seed, "gate", step)
        return [self._draw(sets[index], settings, num_timesteps, generator) for index in chosen]

    def _draw(self, adapters: Set, settings: GateTraining, num_timesteps: int, generator: torch.Generator) -> SetBatch:
        rows, batch = self.rows[adapters], settings.batch_size
        picks = torch.randint(0, len(rows), (batch,), generator=generator)
        dropped = torch.rand(batch, generator=generator) < settings.caption_dropout
        times = 1 if settings.objective == "teacher" else batch  # a teacher plans one step at a time
        timesteps = torch.randint(0, num_timesteps, (times,), generator=generator).expand(batch)
        device = self.latents.device
        latents = self.latents[torch.tensor(rows)[picks].to(device)]
        noise = torch.randn(latents.shape, generator=generator)
        text = self.states[adapters].rows((picks + 1).masked_fill(dropped, 0).to(device))
        return SetBatch(adapters, latents, text, timesteps.to(device), noise.to(device))


def by_set(items: Iterable[GateItem], known: Sequence[str]) -> dict[Set, list[TrainingItem]]:
    """The pictures of each set of two adapters or more, names in the order of `known`.

    Raises TrainingError for an unknown adapter, for pictures that show fewer than two, and where there are none.
    """
    found: dict[Set, list[TrainingItem]] = {}
    few: list[str] = []
    for each in items:
        if unknown := sorted(set(each.adapters) - set(known)):
            raise TrainingError(f"{each.item.name} shows {', '.join(unknown)}", expected=f"some of {', '.join(known)}")
        if len(set(each.adapters)) < 2:
            few.append(each.item.name)
            continue
        found.setdefault(tuple(name for name in known if name in each.adapters), []).append(each.item)
    if few:
        raise TrainingError(
            f"{len(few)} pictures show fewer than two of the adapters, so they say nothing about composing",
            found=listed(few),
            remedy="write the trigger words of all shown adapters into the captions, or leave such pictures out",
        )
    if not found:
        raise TrainingError("there is nothing to train on", expected="pictures that show two adapters or more")
    return dict(sorted(found.items()))


def prepare_gate_data(
    pipe: Any,
    settings: GateTraining,
    sets: Mapping[Set, Sequence[TrainingItem]],
    encoded_under: Any,
) -> GateData:
    """Encode everything once; `encoded_under(set)` is a context in which the text encoders have that set's parts."""
    size = picture_size(pipe, settings.machine)
    latents: list[Tensor] = []
    rows: dict[Set, tuple[int, ...]] = {}
    states: dict[Set, TextStates] = {}
    digest = hashlib.sha256()
    for adapters, items in sets.items():
        encoded, fingerprint = encode_pictures(pipe, items, size)
        first = sum(len(each) for each in latents)
        latents.append(encoded)
        rows[adapters] = tuple(range(first, first + len(items)))
        with encoded_under(adapters):
            states[adapters] = cache_captions(pipe, ["", *(item.captions[0] for item in items)])
        digest.update(f"{adapters}{fingerprint}".encode())
    return GateData(torch.cat(latents).to(pipe.unet.device), rows, states, size, digest.hexdigest())
