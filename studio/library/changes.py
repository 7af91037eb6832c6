"""LibraryChange: what a look at the folders found to be new, other or gone; listeners hear of it file by file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_loom.studio.library.card import AdapterCard


@dataclass(frozen=True)
class LibraryChange:
    """One file: its card as it is now, or as it was last if the file is gone.

    A card is `changed` when its file, a sidecar or its preview is another, or when another file of the same name gave
    it a longer name.
    """

    kind: Literal["added", "changed", "gone"]
    card: AdapterCard


Listener = Callable[[Sequence[LibraryChange]], None]


def changes_between(before: Mapping[Path, AdapterCard], after: Mapping[Path, AdapterCard]) -> list[LibraryChange]:
    """What happened between two looks, in the order of the paths' first appearance: gone ones first."""
    gone = [LibraryChange("gone", card) for path, card in before.items() if path not in after]
    return gone + [
        LibraryChange("changed" if path in before else "added", card)
        for path, card in after.items()
        if before.get(path) != card
    ]
