"""Names for the LoRAs of a library: the file's stem, with as many parent folders as make it unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lora_loom.studio.library.card import AdapterCard


def with_unique_names(cards: Sequence[AdapterCard]) -> Iterator[AdapterCard]:
    """Give every card the shortest end of its path that no other card shares."""
    depth_of = dict.fromkeys((card.path for card in cards), 1)
    while True:
        names = {path: _path_end(path, depth) for path, depth in depth_of.items()}
        counts = Counter(names.values())
        shared = [path for path, name in names.items() if counts[name] > 1 and depth_of[path] < len(path.parts)]
        if not shared:
            break
        for path in shared:
            depth_of[path] += 1
    return (replace(card, name=names[card.path]) for card in cards)


def _path_end(path: Path, depth: int) -> str:
    end = "/".join(path.with_suffix("").parts[-depth:])
    return end.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # a file may be called what is no text
