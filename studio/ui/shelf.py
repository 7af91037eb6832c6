"""The shelf: the library as cards with pictures, a category filter and search, a page at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.library.search import categories, search
from lora_loom.studio.ui.markup import attributes, button, chip, file_url, strand, text
from lora_loom.studio.ui.thumbnails import thumbnail

PAGE = 48  # cards shown before "Show more"
PREVIEW_SIDE = 256  # pixels


def shelf(
    cards: Sequence[AdapterCard],
    previews: Path,
    *,
    chosen: Collection[str] = (),
    query: str = "",
    category: str = "",
    limit: int = PAGE,
) -> str:
    """The shelf as HTML. `chosen` are the names in the stack; `previews` is the folder for the thumbnails."""
    if not cards:
        return _message(
            "No LoRAs yet",
            "Start the studio with --library FOLDER, or set LOOM_LIBRARY, to point it at your .safetensors files.",
        )
    cards = sorted(cards, key=_place)
    found = search(cards, query, category)
    filters = _filters(cards, search(cards, query), category)
    if not found:
        return filters + _message(
            "Nothing fits", "No LoRA has all of these words. Try fewer, or another category.", ("Show all", "clear")
        )
    shown = "".join(_card(card, previews, chosen=card.name in chosen) for card in found[:limit])
    more = (
        f'<div class="loom-more">{button(f"Show more ({len(found) - limit} left)", "more")}</div>'
        if len(found) > limit
        else ""
    )
    return f'{filters}<div class="loom-cards" role="list">{shown}</div>{more}'


def placeholder(card: AdapterCard) -> str:
    """What stands for a LoRA that has no picture: its first letter on the colour of its category."""
    letter = next((char for char in card.title if char.isalnum()), "?").upper()
    return f'<span class="loom-letter loom-strand-{strand(card.category)}" aria-hidden="true">{text(letter)}</span>'


def picture(card: AdapterCard, previews: Path) -> str:
    """The preview of a card as HTML."""
    small = thumbnail(card.preview_path, previews, PREVIEW_SIDE) if card.preview_path else None
    return f'<img src="{text(file_url(small))}" alt="" loading="lazy">' if small else placeholder(card)


def _place(card: AdapterCard) -> tuple[bool, int, str, str]:
    """Where a card stands: by category, subjects first, then by title; those that cannot be used come last."""
    return bool(card.problem), strand(card.category), card.category, card.title.casefold()


def _filters(cards: Sequence[AdapterCard], found: Sequence[AdapterCard], category: str) -> str:
    """One pill per category, with the number of cards of it that the search found."""
    counts = {name: sum(card.category == name for card in found) for name in categories(cards)}
    pills = [("All", "", len(found)), *((name, name, count) for name, count in counts.items())]
    shown = "".join(_pill(name, value, count, pressed=value == category) for name, value, count in pills)
    return f'<div class="loom-filters" role="group" aria-label="Category">{shown}</div>'


def _pill(name: str, value: str, count: int, *, pressed: bool) -> str:
    own = attributes(
        type="button", class_="loom-pill", data_action="category", data_value=value, aria_pressed=str(pressed).lower()
    )
    return f"<button {own}>{text(name, 40)} <small>{count}</small></button>"


def _card(card: AdapterCard, previews: Path, *, chosen: bool) -> str:
    hint = card.problem or f"{'Take out of' if chosen else 'Add to'} the stack: {card.title}. {card.description}"
    pick = attributes(
        type="button",
        class_="loom-pick",
        data_action="toggle",
        data_id=card.id,
        aria_pressed=str(chosen).lower(),
        disabled=bool(card.problem),
        title=hint,
    )
    state = "broken" if card.problem else "chosen" if chosen else "free"
    mark = '<span class="loom-mark" aria-hidden="true">✓</span>' if chosen else ""
    below = (
        f'<span class="loom-problem">{text(card.problem, 140)}</span>'
        if card.problem
        else "".join(_trigger(card, word) for word in card.triggers[:3])
    )
    looks = f"loom-card loom-{state} loom-edge-{strand(card.category)}"
    return (
        f"<article {attributes(class_=looks, role='listitem', data_name=card.name)}>"
        f'<button {pick}><span class="loom-frame">{picture(card, previews)}{mark}</span>'
        f'<span class="loom-title">{text(card.title, 60)}</span></button>'
        f'<div class="loom-below">{chip(card.category)}{below}</div></article>'
    )


def _trigger(card: AdapterCard, word: str) -> str:
    return button(
        f"+ {text(word, 24)}",
        "trigger",
        kind="loom-trigger",
        title=f"Put “{word[:60]}” into the prompt",
        id=card.id,
        value=word,
    )


def _message(title: str, words: str, action: tuple[str, str] | None = None) -> str:
    press = button(text(action[0]), action[1]) if action else ""
    return f'<div class="loom-empty"><strong>{text(title)}</strong><p>{text(words)}</p>{press}</div>'
