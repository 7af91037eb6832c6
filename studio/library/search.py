"""Searching the cards by words, and the categories that there are."""

from __future__ import annotations

from collections.abc import Iterable

from lora_loom.studio.library.card import AdapterCard


def search(cards: Iterable[AdapterCard], text: str = "", category: str = "") -> list[AdapterCard]:
    """The cards of `category` (all if empty) in which every word of `text` occurs, best matches first.

    A word in the title or the name counts more than one among the triggers and tags, and that more than in the
    description.
    """
    words = text.casefold().split()
    ranked: list[tuple[int, int, AdapterCard]] = []
    for position, card in enumerate(cards):
        if category and card.category != category:
            continue
        fields = (
            f"{card.title} {card.name}".casefold(),
            f"{' '.join(card.triggers)} {' '.join(card.tags)} {card.category}".casefold(),
            card.description.casefold(),
        )
        places = [next((rank for rank, field in enumerate(fields) if word in field), None) for word in words]
        if None not in places:
            ranked.append((sum(place or 0 for place in places), position, card))
    return [card for _, _, card in sorted(ranked, key=lambda entry: entry[:2])]


def categories(cards: Iterable[AdapterCard]) -> list[str]:
    """The categories of the cards, in the order in which they first come."""
    return list(dict.fromkeys(card.category for card in cards))
