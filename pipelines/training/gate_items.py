"""Which LoRAs a training picture shows, told from the trigger words in its caption."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.captions import has_word
from lora_loom.pipelines.training.gate_data import GateItem
from lora_loom.pipelines.training.items import TrainingItem

MIXED = 3  # LoRAs a teacher is asked about at once, at most, where a picture does not say


def items_by_trigger(
    pictures: Iterable[TrainingItem], triggers: Mapping[str, str], *, mix: bool = False
) -> Iterator[GateItem]:
    """Each picture with the adapters whose trigger words stand in its caption; `triggers` by adapter.

    With `mix`, which suits a teacher, pictures that name fewer than two serve as well: adapters take turns in joining,
    two or three in all, and their trigger words join the caption. Raises TrainingError for an adapter without a word.
    """
    if silent := sorted(name for name, word in triggers.items() if not word):
        raise TrainingError(
            f"{', '.join(silent)} {'has' if len(silent) == 1 else 'have'} no trigger word",
            expected="a word by which a caption says that the LoRA is meant",
            remedy="Write it as 'activation text' into the JSON file beside the LoRA.",
        )
    turns = itertools.cycle(triggers)
    for number, item in enumerate(pictures):
        caption = item.captions[0]
        shown = [name for name, word in triggers.items() if has_word(caption, word)]
        if mix and len(shown) < 2:
            wanted = min(2 + number % (MIXED - 1), len(triggers))
            while len(shown) < wanted:
                name = next(turns)
                if name not in shown:
                    shown.append(name)
                    caption = f"{caption}, {triggers[name]}"
            item = TrainingItem(item.picture, (caption,), item.name)
        yield GateItem(item, tuple(shown))
