"""The shelf: the library as cards with pictures, a category filter and search, a page at a time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.library.search import categories, search
from lora_loom.studio.templates import render
from lora_loom.studio.ui.markup import category_colour, file_url
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
    in_part: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The shelf as HTML. `chosen` are the names in the stack; `previews` is the folder for the thumbnails.

    `in_part` says of LoRAs that act only in part what of them does.
    """
    if not cards:
        return render("ui/shelf.html.j2", filters=None)
    cards = sorted(cards, key=_place)
    found = search(cards, query, category)
    held = [(card, card.name in chosen) for card in found[:limit]]
    return render(
        "ui/shelf.html.j2",
        filters=_filters(cards, search(cards, query), category),
        cards=[(card, picture(card, previews), taken, _hint(card, taken)) for card, taken in held],
        left=max(len(found) - limit, 0),
        category_colour=category_colour,
        in_part=in_part,
    )


def picture(card: AdapterCard, previews: Path) -> str:
    """The preview of a card as HTML; its first letter on the colour of its category where it has none."""
    small = thumbnail(card.preview_path, previews, PREVIEW_SIDE) if card.preview_path else None
    if small:
        return render("ui/picture.html.j2", url=file_url(small))
    letter = next((char for char in card.title if char.isalnum()), "?").upper()
    return render("ui/picture.html.j2", url="", letter=letter, category_colour=category_colour(card.category))


def unknown_picture() -> str:
    """What stands for a LoRA that is not in the library."""
    return render("ui/picture.html.j2", url="", letter="?", category_colour=0)


def _place(card: AdapterCard) -> tuple[bool, int, str, str]:
    """Where a card stands: by category, subjects first, then by title; those that cannot be used come last."""
    return bool(card.problem), category_colour(card.category), card.category, card.title.casefold()


def _filters(
    cards: Sequence[AdapterCard], found: Sequence[AdapterCard], category: str
) -> list[tuple[str, str, int, bool]]:
    """Name, value, number of cards that the search found, and whether it is chosen, for all and for every category."""
    counts = {name: sum(card.category == name for card in found) for name in categories(cards)}
    pills = [("All", "", len(found)), *((name, name, count) for name, count in counts.items())]
    return [(name, value, count, value == category) for name, value, count in pills]


def _hint(card: AdapterCard, chosen: bool) -> str:
    return card.problem or f"{'Take out of' if chosen else 'Add to'} the stack: {card.title}. {card.description}"
