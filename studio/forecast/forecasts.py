"""Forecasts: what the doctor knows of the LoRAs chosen for a picture, examined once for each of their states.

A state is the base, and of every LoRA its file's hash, its strength and its factors by block. What cannot be examined
is named with the reason and left out, so that one odd file hides nothing about the others.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lora_loom.pipelines.errors import LoomError
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.forecast.diagnosis import report_on
from lora_loom.studio.library.card import AdapterCard, FileKey
from lora_loom.studio.session import Studio

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.factors import Adapter
    from lora_loom.pipelines.adapters.target import BaseTarget
    from lora_loom.pipelines.forecast.report import Report

QUICK_BASE = 256 * 2**20  # bytes of a base that may be loaded unasked
QUICK_LORAS = 32 * 2**20  # bytes of LoRA files that are examined in a second or two
MAX_LABEL = 40  # characters of a title inside a sentence
KEPT_REPORTS, KEPT_ADAPTERS = 64, 12


@dataclass(frozen=True)
class StackForecast:
    """What is known before drawing. `key` names the state that it is about.

    `report` speaks of LoRAs by titles, `names` has their names in the library by these; None where fewer than two could
    be examined. `notes` are sentences on what it leaves out.
    """

    key: str
    report: Report | None
    names: Mapping[str, str]
    notes: tuple[str, ...] = ()


class Forecasts:
    """The forecasts of one studio. Safe to use from several threads; one examination runs at a time."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._lock = threading.Lock()
        self._found: dict[str, StackForecast] = {}  # the one asked for last at the end
        self._adapters: dict[tuple[FileKey, str, bool], Adapter] = {}

    def key(self, choices: Sequence[AdapterChoice]) -> str:
        """The state of these choices and of the files behind them."""
        cards = self._cards()
        state = [
            (
                *(each.name, _sha256(cards.get(each.name)), each.strength, each.forced),
                *(sorted(each.blocks.items()), _placed(each)),
            )
            for each in choices
        ]
        return hashlib.sha256(json.dumps([self._studio.base_model, state]).encode()).hexdigest()[:16]

    def known(self, choices: Sequence[AdapterChoice]) -> StackForecast | None:
        """The forecast, if it has been made before."""
        return self._found.get(self.key(choices))

    def quick(self, choices: Sequence[AdapterChoice]) -> bool:
        """Whether it takes so little that it may be made unasked: a base at hand or a small one, and small LoRAs."""
        folder = self._studio.base_folder
        light = folder is not None and sum(each.stat().st_size for each in folder.rglob("*.safetensors")) <= QUICK_BASE
        cards = self._cards()
        loras = sum(cards[choice.name].size_bytes for choice in choices if choice.name in cards)
        return (self._studio.loaded or light) and loras <= QUICK_LORAS

    def of(self, choices: Sequence[AdapterChoice]) -> StackForecast:
        """The forecast for at least two choices; raises BaseModelError for a base that cannot be loaded."""
        key = self.key(choices)
        with self._lock:
            found = self._found.pop(key, None) or self._examine(key, choices)
            self._found[key] = found
            while len(self._found) > KEPT_REPORTS:
                del self._found[next(iter(self._found))]
        return found

    def _examine(self, key: str, choices: Sequence[AdapterChoice]) -> StackForecast:
        from lora_loom.pipelines.adapters.target import BaseTarget

        target, cards = BaseTarget.from_pipeline(self._studio.pipeline), self._cards()
        adapters: dict[str, Adapter] = {}
        strengths: dict[str, float] = {}
        kinds: dict[str, str] = {}
        names: dict[str, str] = {}
        notes: list[str] = []
        for choice in choices:
            card = cards.get(choice.name)
            label = _new_label(card.title if card else choice.name, names)
            names[label] = choice.name
            try:
                adapters[label] = self._adapter(choice, target)
            except LoomError as error:
                notes.append(f"{label} is left out of the forecast: {error}")
                continue
            strengths[label], kinds[label] = choice.strength, card.category if card else ""
        if any(map(_placed, choices)):
            notes.append(
                "Regions and curves are not in the forecast: it takes every LoRA to act everywhere, throughout."
            )
        if len(adapters) < 2:
            return StackForecast(key, None, names, tuple(notes))
        try:
            report = report_on(self._studio, target, adapters, strengths, kinds)
        except LoomError as error:
            return StackForecast(key, None, names, (*notes, f"There is no forecast: {error}"))
        return StackForecast(key, report, names, tuple(notes))

    def _adapter(self, choice: AdapterChoice, target: BaseTarget) -> Adapter:
        """The LoRA with its factors by block inside of it; those of a DoRA cannot be, and it is not examined anyway."""
        from lora_loom.pipelines.adapters.load import load_adapter
        from lora_loom.pipelines.runtime.block_groups import scaled_by_blocks
        from lora_loom.pipelines.runtime.targets import denoiser_of

        card = self._studio.library.find(choice.name)
        key = card.file_key, choice.name, choice.forced
        adapter = self._adapters.pop(key, None)
        if adapter is None:
            adapter = load_adapter(card.path, name=choice.name, target=target, force=choice.forced)
        self._adapters[key] = adapter
        while len(self._adapters) > KEPT_ADAPTERS:
            del self._adapters[next(iter(self._adapters))]
        if not choice.blocks or adapter.dora:
            return adapter
        model = denoiser_of(self._studio.pipeline).model
        return scaled_by_blocks(model, {choice.name: adapter}, [choice])[choice.name]

    def _cards(self) -> dict[str, AdapterCard]:
        return {card.name: card for card in self._studio.library.cards()}


def _sha256(card: AdapterCard | None) -> str:
    try:
        return "" if card is None else card.sha256
    except LoomError as error:  # gone a moment ago: a state of its own, told when it is examined
        return str(error)


def _placed(choice: AdapterChoice) -> bool:
    return bool(choice.curve or choice.region)


def _new_label(title: str, taken: Mapping[str, str]) -> str:
    """The title, cut and made unlike those taken, to speak of a LoRA by."""
    short = title.strip() if len(title.strip()) <= MAX_LABEL else f"{title.strip()[: MAX_LABEL - 1]}…"
    label, count = short or "LoRA", 2
    while label in taken:
        label, count = f"{short or 'LoRA'} ({count})", count + 1
    return label
