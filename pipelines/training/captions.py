"""Captions as a table of text states: written once, encoded once, then only looked up by row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any, cast

import torch
from torch import Tensor

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.training.items import TrainingItem
from lora_loom.pipelines.training.settings import LoraTraining

ENCODE_BATCH = 32


@dataclass(frozen=True)
class CaptionBook:
    """Every distinct caption once; row 0 is the empty one, shown where a caption is dropped."""

    texts: tuple[str, ...]
    rows_by_item: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TextStates:
    """What the denoiser is told: token states [n t d] and, for SDXL, pooled states [n d]."""

    tokens: Tensor
    pooled: Tensor | None

    def rows(self, index: Tensor) -> TextStates:
        return TextStates(self.tokens[index], None if self.pooled is None else self.pooled[index])


def write_captions(captions: Sequence[str], templates: Sequence[str], trigger: str) -> tuple[str, ...]:
    """Each caption in each template, the trigger word in front where it is missing. SettingError for a bad template."""
    written: list[str] = []
    for template in templates:
        _check_template(template)
        for caption in captions:
            text = " ".join(template.format(caption=caption, trigger=trigger).split())
            written.append(text if not trigger or has_word(text, trigger) else f"{trigger} {text}".strip())
    return tuple(dict.fromkeys(written))


def has_word(text: str, word: str) -> bool:
    """True where `word`, or a phrase, stands in the text as such and not as a part of longer words."""
    return re.search(_as_word(word), text) is not None


def without_word(text: str, word: str) -> str:
    """The text with every such place taken out."""
    return " ".join(re.sub(_as_word(word), " ", text).split())


def caption_book(items: Sequence[TrainingItem], settings: LoraTraining, prior: Iterable[str] = ()) -> CaptionBook:
    """The captions of the items, then those of the prior pictures, one item each, as one table."""
    row_by_text: dict[str, int] = {"": 0}
    written = [write_captions(item.captions, settings.templates, settings.trigger) for item in items]
    rows = [
        tuple(row_by_text.setdefault(text, len(row_by_text)) for text in texts)
        for texts in (*written, *((text,) for text in prior))
    ]
    return CaptionBook(texts=tuple(row_by_text), rows_by_item=tuple(rows))


def check_trigger(pipe: Any, trigger: str) -> None:
    """Refuse a trigger word that the base's tokenizer does not know: every unknown word would call the LoRA.

    Tokenizers that spell words out (CLIP's) know every word; those with a fixed vocabulary do not.
    """
    tokenizer = pipe.tokenizer
    ids = cast("list[int]", tokenizer(trigger, add_special_tokens=False).input_ids) if trigger else []
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        raise SettingError(
            f"the trigger word {trigger!r} is not in the vocabulary of this base",
            expected="words its tokenizer knows",
            remedy="choose one of the base's reserved trigger words or a word of its vocabulary",
        )


def overlong(pipe: Any, texts: Sequence[str]) -> int:
    """How many captions have more tokens than the base reads; the rest of each is not seen in training."""
    limit = int(pipe.tokenizer.model_max_length)
    ids = cast("list[list[int]]", pipe.tokenizer(list(texts), truncation=False).input_ids)
    return sum(len(entry) > limit for entry in ids)


def encode_captions(pipe: Any, texts: Sequence[str]) -> TextStates:
    """Text states of the captions, by the pipeline's own `encode_prompt`; gradients flow where encoders have any."""
    device = pipe._execution_device
    encoded = pipe.encode_prompt(
        prompt=list(texts), device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    pooled = encoded[2] if len(encoded) == 4 else None  # SDXL gives (tokens, no tokens, pooled, no pooled)
    return TextStates(encoded[0], pooled)


@torch.no_grad()
def cache_captions(pipe: Any, texts: Sequence[str]) -> TextStates:
    """Text states of all captions at once, for encoders that are not trained."""
    parts = [encode_captions(pipe, texts[start : start + ENCODE_BATCH]) for start in range(0, len(texts), ENCODE_BATCH)]
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return TextStates(torch.cat([part.tokens for part in parts]), torch.cat(pooled) if pooled else None)


def _as_word(word: str) -> str:
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def _check_template(template: str) -> None:
    try:
        names = {name for _, name, _, _ in Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise SettingError(f"the caption template {template!r} is broken", found=str(error)) from error
    if "caption" not in names or not names <= {"caption", "trigger"}:
        raise SettingError(
            f"the caption template {template!r} cannot be filled in",
            expected="{caption}, and {trigger} if wanted",
            found=", ".join(sorted(f"{{{name}}}" for name in names)) or "no place to fill",
        )
