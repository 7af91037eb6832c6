"""AdapterLibrary: the LoRA files under some folders, each as a card that can be shown without loading the file.

A scan reads headers and sidecars only and is remembered by path, size and time, so that scanning again costs one
`stat` per file. Every file gets a card, also one that cannot be read: its card says why.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lora_loom.pipelines.errors import AdapterFileError, UnknownAdapterError
from lora_loom.studio.sidecars import PREVIEW_SUFFIXES, SIDECAR_SUFFIXES, clean_text, find_preview, read_notes

MAX_NAME = 200  # characters
FileKey = tuple[Path, int, int]  # path, bytes, nanoseconds of the last change


@dataclass(frozen=True)
class AdapterCard:
    """One LoRA file as it is shown and chosen.

    `name` is what requests and prompts use: the file's stem, with as many parent folders before it as make it
    unique. `id` is ours, so that no file name reaches an endpoint. `rank` is the largest in the file. `strength` is
    what its author recommends, else 1. `problem` says why a file cannot be used; `remarks` what was wrong beside
    it.
    """

    id: str
    name: str
    title: str
    category: str
    triggers: tuple[str, ...]
    description: str
    tags: tuple[str, ...]
    preview_path: Path | None
    base_family: str
    rank: int | None
    strength: float
    path: Path
    size_bytes: int
    problem: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def trigger(self) -> str:
        """The trigger words as one text to put in a prompt."""
        return ", ".join(self.triggers)

    @property
    def file_key(self) -> FileKey:
        """What tells whether the file is still the same; raises AdapterFileError if it is gone."""
        try:
            status = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        return self.path, status.st_size, status.st_mtime_ns

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's bytes in hexadecimal, computed when first asked for; raises AdapterFileError."""
        try:
            return _sha256(self.file_key)
        except OSError as error:
            raise _unreadable(self.path, error) from error


class AdapterLibrary:
    """The LoRAs under `roots`, in the order of the roots and then by name. Safe to use from several threads."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(Path(root).resolve() for root in roots)
        self._lock = threading.Lock()
        self._seen: dict[tuple[FileKey, ...], AdapterCard] = {}
        self._cards: tuple[AdapterCard, ...] | None = None

    def scan(self) -> list[AdapterCard]:
        """Look at the folders again: new, changed and removed files, and new sidecars."""
        with self._lock:
            seen: dict[tuple[FileKey, ...], AdapterCard] = {}
            for root in self.roots:
                for path in _adapter_files(root):
                    if key := _state_of(path):
                        seen[key] = self._seen.get(key) or _read_card(root, path, size_bytes=key[0][1])
            self._seen = seen
            unique = {card.path: card for card in seen.values()}  # a root inside another root gives no second card
            self._cards = tuple(_with_unique_names(list(unique.values())))
            return list(self._cards)

    def cards(self) -> list[AdapterCard]:
        """All cards, from the last scan."""
        return list(self._cards) if self._cards is not None else self.scan()

    def find(self, name: str) -> AdapterCard:
        """The card of the LoRA called `name`; raises UnknownAdapterError with the closest names there are."""
        for cards in (self.cards(), self.scan()):  # a file may be new since the last scan
            exact = [card for card in cards if card.name == name]
            same_stem = exact or [card for card in cards if card.path.stem == name]
            if len(same_stem) == 1:
                return same_stem[0]
            if same_stem:
                names = ", ".join(card.name for card in same_stem)
                raise UnknownAdapterError(
                    f"several LoRAs are called {clean_text(name, MAX_NAME)}",
                    found=names,
                    remedy="use one of these names",
                )
        raise UnknownAdapterError(
            f"there is no LoRA called {clean_text(name, MAX_NAME)}",
            found=f"{len(self.cards())} LoRAs in {', '.join(str(root) for root in self.roots) or 'no folder'}",
            remedy=self._suggestion(name),
        )

    def by_id(self, card_id: str) -> AdapterCard:
        """The card with this id; raises UnknownAdapterError."""
        card = next((card for card in self.cards() if card.id == card_id), None)
        if card is None:
            raise UnknownAdapterError(
                "this LoRA is no longer in the library", found=clean_text(card_id, 40), remedy="reload the page"
            )
        return card

    def _suggestion(self, name: str) -> str:
        known = {
            text.casefold(): card.name for card in self.cards() for text in (card.name, card.title, card.path.stem)
        }
        close = difflib.get_close_matches(name.casefold(), list(known), n=6, cutoff=0.5)
        names = list(dict.fromkeys(known[text] for text in close))[:3]
        return f"Did you mean {' or '.join(names)}?" if names else "`loom library list` shows what there is"


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


def _adapter_files(root: Path) -> Iterator[Path]:
    """The .safetensors files under `root`, sorted; links that lead out of it and hidden folders are left out."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            path = Path(folder, name)
            if path.suffix.lower() == ".safetensors" and not name.startswith("."):
                inside = path.resolve().is_relative_to(root) and path.is_file()
                if inside:
                    yield path


def _state_of(path: Path) -> tuple[FileKey, ...]:
    """What tells whether the LoRA or anything beside it changed; empty if the file went away meanwhile."""
    keys: list[FileKey] = []
    for file in (path, *(path.with_suffix(suffix) for suffix in (*SIDECAR_SUFFIXES, *PREVIEW_SUFFIXES))):
        try:
            status = file.stat()
            keys.append((file, status.st_size, status.st_mtime_ns))
        except OSError:
            if file is path:
                return ()
    return tuple(keys)


def _read_card(root: Path, path: Path, *, size_bytes: int) -> AdapterCard:
    from lora_loom.pipelines.adapters.base_family import detect_base_family
    from lora_loom.pipelines.adapters.safetensors_file import read_header

    problem, metadata, family, rank = "", {}, "unknown", None
    try:
        header = read_header(path)
        metadata = dict(header.metadata)
        family = detect_base_family(list(header.shapes), header.shapes, metadata).name
        rank = _largest_rank(header.shapes.items())
    except AdapterFileError as error:
        problem = clean_text(str(error), 400)
    notes = read_notes(path, metadata)
    folder = path.parent.name if path.parent != root else ""
    return AdapterCard(
        id=f"a_{hashlib.sha256(str(path).encode('utf-8', 'surrogateescape')).hexdigest()[:12]}",
        name=path.stem,
        title=notes.title or clean_text(path.stem.replace("_", " "), MAX_NAME),
        category=(notes.category or clean_text(folder, 48) or "other").lower(),
        triggers=notes.triggers,
        description=notes.description,
        tags=notes.tags,
        preview_path=find_preview(path),
        base_family=family,
        rank=rank,
        strength=notes.strength if notes.strength is not None else 1.0,
        path=path,
        size_bytes=size_bytes,
        problem=problem,
        remarks=notes.unreadable,
    )


def _largest_rank(shapes: Iterable[tuple[str, Sequence[int]]]) -> int | None:
    """The largest rank among the down matrices [r in ...] of the file, None where it has none."""
    endings = (
        ".lora_A.weight",
        ".lora_down.weight",
        ".lora.down.weight",
        "_lora.down.weight",
        ".lora_A.default.weight",
    )
    ranks = [shape[0] for key, shape in shapes if key.endswith(endings) and len(shape) >= 2]
    return max(ranks, default=None)


def _with_unique_names(cards: list[AdapterCard]) -> Iterator[AdapterCard]:
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
    return "/".join(path.with_suffix("").parts[-depth:])


@functools.lru_cache(maxsize=4096)
def _sha256(key: FileKey) -> str:
    with key[0].open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(path: Path, error: OSError) -> AdapterFileError:
    return AdapterFileError(
        f"{clean_text(path.name, MAX_NAME)} cannot be read",
        path=path,
        found=error.strerror or str(error),
        remedy="put the file back, or reload the page",
    )
