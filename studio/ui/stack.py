"""The stack: the LoRAs chosen for a picture, in order, each with its strength and an on/off switch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lora_loom.pipelines.errors import LoomError
from lora_loom.pipelines.request import MAX_ADAPTERS
from lora_loom.pipelines.requests.adapter_choice import MAX_ABSOLUTE_STRENGTH, AdapterChoice, choice_fields
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.templates import render
from lora_loom.studio.ui.controls import ACTIONS, details, edited_control, summary
from lora_loom.studio.ui.markup import category_colour
from lora_loom.studio.ui.shelf import picture, unknown_picture

STRENGTH = choice_fields()["strength"]  # the slider has its usual range; the number beside it takes any strength
MAX_NAME = 512


@dataclass(frozen=True)
class StackRow:
    """One LoRA of the stack. `sha256` is what a restored picture was made with, empty for one picked from the shelf.

    `control` holds what is said of it beyond its strength, at strength 1; `expanded` whether the row shows that.
    """

    name: str
    strength: float = 1.0
    on: bool = True
    sha256: str = ""
    control: AdapterChoice | None = None
    expanded: bool = False

    @classmethod
    def of(cls, choice: AdapterChoice, **more: Any) -> StackRow:
        return cls(choice.name, choice.strength, control=_control(choice), **more)

    @property
    def choice(self) -> AdapterChoice:
        return replace(self.control or AdapterChoice(self.name), name=self.name, strength=self.strength)


def read_stack(value: object) -> list[StackRow]:
    """The stack that `write_stack` put into the browser; what does not fit is left out, it may hold anything."""
    stacked: dict[str, StackRow] = {}
    for entry in value if isinstance(value, list) else ():
        if not isinstance(entry, Mapping):
            continue
        name, strength, sha256 = entry.get("name"), _number(entry.get("strength")), entry.get("sha256", "")
        if isinstance(name, str) and 0 < len(name) <= MAX_NAME and strength is not None and isinstance(sha256, str):
            on, expanded = entry.get("on") is not False, entry.get("expanded") is True
            control = _read_control(entry.get("control"))
            stacked.setdefault(name, StackRow(name, strength, on, sha256[:64], control, expanded))
    return list(stacked.values())[:MAX_ADAPTERS]


def write_stack(stacked: Iterable[StackRow]) -> list[dict[str, Any]]:
    return [
        {**asdict(replace(each, control=None)), "control": each.control and each.control.to_dict()} for each in stacked
    ]


def _read_control(value: object) -> AdapterChoice | None:
    try:
        choice = AdapterChoice.from_dict(value) if isinstance(value, Mapping) else None
        if choice is not None and choice.region is not None and choice.region.mask:
            choice.region.image()
    except LoomError:
        return None
    return choice and _control(choice)


def _control(choice: AdapterChoice) -> AdapterChoice | None:
    return replace(choice, strength=1.0) if choice.controlled or choice.forced else None


def forced(stacked: Sequence[StackRow], name: str) -> list[StackRow]:
    """The stack with what fits of that LoRA to be loaded, whichever base it is for."""
    return [StackRow.of(replace(one.choice, forced=True), **_kept(one)) if one.name == name else one for one in stacked]


def _kept(one: StackRow) -> dict[str, Any]:
    return {"on": one.on, "sha256": one.sha256, "expanded": one.expanded}


def choices(stacked: Iterable[StackRow]) -> tuple[AdapterChoice, ...]:
    """What a request says about the stack: those that are switched on, in order."""
    return tuple(each.choice for each in stacked if each.on)


def toggled(stacked: Sequence[StackRow], card: AdapterCard) -> list[StackRow]:
    """The stack with the LoRA of `card` added at its end at its recommended strength, or taken out if it is there."""
    without = [each for each in stacked if each.name != card.name]
    return without if len(without) < len(stacked) else [*stacked, StackRow(card.name, card.strength)][:MAX_ADAPTERS]


def edited(
    stacked: Sequence[StackRow],
    action: str,
    row: object,
    value: object = None,
    name: str = "",
    proportions: float = 1.0,
) -> list[StackRow]:
    """The stack after `action` (remove, up, down, switch, strength, details, or one of the details') on one row.

    Unchanged where that makes no sense. `name` says which of several controls, `proportions` those of the picture.
    """
    result = list(stacked)
    index = int(row) if isinstance(row, str | int) and str(row).isdigit() else -1
    if not 0 <= index < len(result):
        return result
    one, other = result[index], index + {"up": -1, "down": 1}.get(action, 0)
    if action == "remove":
        del result[index]
    elif action in ("up", "down") and 0 <= other < len(result):
        result[index], result[other] = result[other], result[index]
    elif action == "switch":
        result[index] = replace(one, on=not one.on)
    elif action == "force":
        result[index] = StackRow.of(replace(one.choice, forced=not one.choice.forced), **_kept(one))
    elif action == "details":
        result[index] = replace(one, expanded=not one.expanded)
    elif action == "strength" and (strength := _number(value)) is not None:
        result[index] = replace(one, strength=strength)
    elif action in ACTIONS:
        changed = edited_control(one.choice, action, name, str(value), proportions)
        result[index] = replace(one, control=_control(changed))
    return result


def stack_view(
    stacked: Sequence[StackRow],
    cards: Mapping[str, AdapterCard],
    previews: Path,
    prompt: str,
    *,
    order_matters: bool,
    proportions: float = 1.0,
    in_part: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The stack as HTML. `cards` by name; a LoRA that is not among them is shown as missing.

    `in_part` says of LoRAs that act only in part what of them does.
    """
    rows = [
        _row(index, one, cards.get(one.name), previews, prompt, proportions) | {"in_part": in_part.get(one.name, "")}
        for index, one in enumerate(stacked)
    ]
    return render(
        "ui/stack.html.j2",
        rows=rows,
        slider=(*(STRENGTH.slider or (0.0, 2.0)), STRENGTH.step),
        note=order_matters and len(stacked) > 1,
    )


def _row(
    index: int, one: StackRow, card: AdapterCard | None, previews: Path, prompt: str, proportions: float
) -> dict[str, Any]:
    title = card.title if card else one.name
    return {
        "one": one,
        "card": card,
        "title": title,
        "category_colour": category_colour(card.category if card else ""),
        "picture": picture(card, previews) if card else unknown_picture(),
        "words": [(word, has_word(prompt, word)) for word in card.triggers[:6]] if card else [],
        "said": "" if one.expanded else summary(one.choice),
        "details": details(index, one.choice, title, proportions) if one.expanded else "",
    }


def has_word(prompt: str, word: str) -> bool:
    """Whether the trigger occurs in the prompt as words of its own."""

    def spaced(phrase: str) -> str:
        return f" {' '.join(phrase.casefold().replace(',', ' , ').split())} "

    return spaced(word) in spaced(prompt)


def with_word(prompt: str, word: str) -> str:
    """The prompt with the trigger at its end, unless it is there already."""
    if has_word(prompt, word):
        return prompt
    start = prompt.strip().rstrip(",").rstrip()
    return f"{start}, {word}" if start else word


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except ValueError:
        return None
    return round(number, 4) if math.isfinite(number) and abs(number) <= MAX_ABSOLUTE_STRENGTH else None
