"""AdapterLibrary: the LoRA files under some folders, each as a card that can be shown without loading the file.

A scan reads headers and sidecars only and is remembered by path, size and time, so that scanning again costs one
`stat` per file. Every file gets a card, also one that cannot be read: its card says why. A look-up asks for the state
of one file; only a name that is not there makes the library look at its folders again, as the file may be new.
"""

from __future__ import annotations

import difflib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from lora_loom.pipelines.errors import UnknownAdapterError
from lora_loom.studio.library.card import MAX_NAME, AdapterCard, FileKey
from lora_loom.studio.library.changes import Listener, changes_between
from lora_loom.studio.library.reading import adapter_files, read_card, state_of
from lora_loom.studio.library.unique_names import with_unique_names
from lora_loom.studio.sidecars import clean_text


class AdapterLibrary:
    """The LoRAs under `roots`, in the order of the roots and then by name. Safe to use from several threads."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = tuple(Path(root).resolve() for root in roots)
        self._files: tuple[Path, ...] = ()  # beside those below the roots
        self._lock = threading.Lock()
        self._seen: dict[Path, tuple[tuple[FileKey, ...], AdapterCard]] = {}  # state and card by path
        self._index: _Index | None = None
        self._listeners: list[Listener] = []

    def scan(self) -> list[AdapterCard]:
        """Look at the folders again: new, changed and removed files, and new sidecars."""
        with self._lock:
            seen: dict[Path, tuple[tuple[FileKey, ...], AdapterCard]] = {}
            for root in self.roots:
                for path in adapter_files(root):
                    if path not in seen:  # a root inside another root gives no second card
                        self._look(root, path, seen)
            for path in self._files:
                if path not in seen:
                    self._look(path.parent, path, seen)
            index = self._take(seen)
        return list(index.cards)

    def add(self, path: str | Path) -> AdapterCard:
        """The card of a file that a person names by its path, which is a LoRA of this library from now on.

        For command lines and programs only: a name that came with a request is never taken for a path. Raises
        UnknownAdapterError where no such file is.
        """
        file = Path(path).expanduser().resolve()
        if not is_file_name(file.name) or not file.is_file():
            raise UnknownAdapterError(
                f"there is no LoRA file {clean_text(str(path), MAX_NAME)}",
                expected="the path of a .safetensors file",
                found="another kind of file" if file.is_file() else "no file there",
            )
        self.cards()
        with self._lock:
            self._files = tuple(dict.fromkeys((*self._files, file)))
        self.refresh(file)
        return self._known().by_path[file]

    def find_or_add(self, typed: str) -> AdapterCard:
        """`find`, or `add` for what is written as a file; for what a person typed at a command line."""
        return self.add(typed) if is_file_name(typed) else self.find(typed)

    def refresh(self, path: str | Path) -> AdapterCard | None:
        """Look at one file again, as after it was written; None if there is none below the roots."""
        file = Path(path).resolve()
        self.cards()
        with self._lock:
            seen = dict(self._seen)
            seen.pop(file, None)
            alone = (file.parent,) if file in self._files else ()
            roots = (root for root in (*self.roots, *alone) if file.is_relative_to(root) and file.is_file())
            if root := next(roots, None):
                self._look(root, file, seen)
            return self._take(seen).by_path.get(file)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Let `listener` hear what each look at the folders changes; returns what ends that.

        It is called in the thread that looked, while the library is locked: it must only note what it hears.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def cards(self) -> list[AdapterCard]:
        """All cards, from the last scan."""
        return list(self._known().cards)

    def find(self, name: str) -> AdapterCard:
        """The card of the LoRA called `name`; raises UnknownAdapterError with the closest names there are."""
        if not self._known().named(name):
            self.scan()  # a file may be new since the last one
        found = self._known().named(name)
        if len(found) == 1:
            return self._as_it_is(found[0]) or self.find(name)
        if found:
            raise UnknownAdapterError(
                f"several LoRAs are called {clean_text(name, MAX_NAME)}",
                found=", ".join(card.name for card in found),
                remedy="use one of these names",
            )
        raise UnknownAdapterError(
            f"there is no LoRA called {clean_text(name, MAX_NAME)}",
            found=f"{len(self._known().cards)} LoRAs in {', '.join(str(root) for root in self.roots) or 'no folder'}",
            remedy=self._suggestion(name),
        )

    def by_id(self, card_id: str) -> AdapterCard:
        """The card with this id; raises UnknownAdapterError."""
        card = self._known().by_id.get(card_id)
        if card is None:
            raise UnknownAdapterError(
                "this LoRA is no longer in the library", found=clean_text(card_id, 40), remedy="reload the page"
            )
        return card

    def _known(self) -> _Index:
        if self._index is None:
            self.scan()
        assert self._index is not None
        return self._index

    def _as_it_is(self, card: AdapterCard) -> AdapterCard | None:
        """The card, read again if its file has changed since; None if the file is gone."""
        try:
            status = card.path.stat()
        except OSError:
            return self.refresh(card.path)
        seen = self._seen.get(card.path)
        if seen is not None and seen[0][0] == (card.path, status.st_size, status.st_mtime_ns):
            return card
        return self.refresh(card.path)

    def _look(self, root: Path, path: Path, seen: dict[Path, tuple[tuple[FileKey, ...], AdapterCard]]) -> None:
        if state := state_of(path):
            known = self._seen.get(path)
            if known is None or known[0] != state:
                known = state, read_card(root, path, size_bytes=state[0][1])
            seen[path] = known

    def _take(self, seen: dict[Path, tuple[tuple[FileKey, ...], AdapterCard]]) -> _Index:
        """Make what was seen the state of the library, and tell the listeners what that changes."""
        before = self._index.by_path if self._index else {}
        self._seen = seen
        self._index = _Index(with_unique_names([card for _, card in seen.values()]))
        if self._listeners and (changes := changes_between(before, self._index.by_path)):
            for listener in list(self._listeners):
                listener(changes)
        return self._index

    def _suggestion(self, name: str) -> str:
        cards = self._known().cards
        known = {text.casefold(): card.name for card in cards for text in (card.name, card.title, card.path.stem)}
        close = difflib.get_close_matches(name.casefold(), list(known), n=6, cutoff=0.5)
        names = list(dict.fromkeys(known[text] for text in close))[:3]
        return f"Did you mean {' or '.join(names)}?" if names else "`loom library list` shows what there is"


def is_file_name(text: str) -> bool:
    """Whether a person who types this means a file, and not a name of the library."""
    return text.strip().lower().endswith(".safetensors")


class _Index:
    """The cards of one scan, by what they are looked up by."""

    def __init__(self, cards: Iterable[AdapterCard]) -> None:
        self.cards = tuple(cards)
        self.by_id = {card.id: card for card in self.cards}
        self.by_path = {card.path: card for card in self.cards}
        self._by_name = {card.name: card for card in self.cards}
        self._by_stem: defaultdict[str, list[AdapterCard]] = defaultdict(list)
        for card in self.cards:
            self._by_stem[card.path.stem].append(card)

    def named(self, name: str) -> list[AdapterCard]:
        """The card of that name, else those whose file is called so."""
        if name in self._by_name:
            return [self._by_name[name]]
        return self._by_stem.get(name, [])
