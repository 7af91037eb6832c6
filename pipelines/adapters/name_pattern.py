"""Patterns of module names from PEFT configurations: the regular expressions that are safe, run without backtracking.

A stranger's pattern is parsed here, not handed to `re`. It becomes a small automaton that reads a name once, a letter
at a time, so no pattern takes longer than its share of work; there is no way back that could take forever.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MAX_CHARACTERS = 300
MAX_STATES = 512
MAX_WORK = 200_000  # states looked at for one pattern: a tenth of a second, ten times what known files need
MAX_REPEATS = 64

_CLASSES = {"d": string.digits, "w": string.ascii_letters + string.digits + "_"}
_COUNTS = re.compile(r"\{(\d{1,3})(?:(,)(\d{1,3})?)?\}")
_PLAIN = re.compile(r"[^\\^$.|?*+()\[\]{}]")


@dataclass(frozen=True)
class _Letter:
    """One character out of `these`, or with `other` one that is not."""

    these: frozenset[str]
    other: bool = False


@dataclass(frozen=True)
class _Edge:
    of: Literal["start", "end"]


@dataclass(frozen=True)
class _Row:
    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Either:
    parts: tuple[_Node, ...]


@dataclass(frozen=True)
class _Repeat:
    part: _Node
    least: int
    most: int | None


_Node: TypeAlias = "_Letter | _Edge | _Row | _Either | _Repeat"
_States: TypeAlias = frozenset[int]


@dataclass(frozen=True)
class _State:
    """A step of the automaton: over a letter, over an edge, or freely, to the states of `then`; none ends the name."""

    over: _Letter | _Edge | None
    then: tuple[int, ...]


@dataclass
class NamePattern:
    """A pattern as PEFT means it: the whole of a name or what follows one of its dots, `(.*\\.)?(pattern)$`.

    Raises ValueError for what is not understood: look-around, back references, flags, and groups without a limit of
    repetitions.
    """

    text: str
    _states: list[_State] = field(default_factory=list[_State], init=False, repr=False)
    _known: dict[tuple[_States, str], _States] = field(
        default_factory=dict[tuple["_States", str], "_States"], init=False, repr=False
    )
    _work: int = field(default=0, init=False, repr=False)
    _first: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.text) > MAX_CHARACTERS:
            raise ValueError(f"a pattern of {len(self.text):,} characters")
        parsed = _Parser(self.text).whole()
        before = _Repeat(_Row((_Repeat(_ANY, 0, None), _Letter(frozenset(".")))), 0, 1)
        self._first = self._build(_Row((before, parsed, _Edge("end"))), self._add(None, ()))

    def matches(self, name: str) -> bool:
        """Whether the pattern is that of the name; raises ValueError where finding out takes too much work."""
        states = self._freely((self._first,), "start")
        for letter in name:
            known = self._known.get((states, letter))
            if known is None:
                known = self._known[states, letter] = self._step(states, letter)
            states = known
            if not states:
                return False
        # At its first letter an empty name is at its last one too.
        ended = self._freely(states, "end")
        return any(self._states[each].over is None and not self._states[each].then for each in ended)

    def _step(self, states: _States, letter: str) -> _States:
        reached: set[int] = set()
        for each in states:
            over = self._states[each].over
            if isinstance(over, _Letter) and (letter in over.these) != over.other:
                reached.update(self._states[each].then)
        return self._freely(reached)

    def _freely(self, states: Iterable[int], edge: Literal["start", "end", ""] = "") -> _States:
        """All states that are reached without a letter, past the edges that the name has here."""
        reached: set[int] = set()
        ahead = list(states)
        while ahead:
            each = ahead.pop()
            if each in reached:
                continue
            reached.add(each)
            self._work += 1
            over = self._states[each].over
            if over is None or (isinstance(over, _Edge) and over.of == edge):
                ahead += self._states[each].then
        if self._work > MAX_WORK:
            raise ValueError(f"the pattern {self.text[:80]!r} takes too long on the names of this file")
        return frozenset(reached)

    def _add(self, over: _Letter | _Edge | None, then: tuple[int, ...]) -> int:
        if len(self._states) >= MAX_STATES:
            raise ValueError(f"the pattern {self.text[:80]!r} is too involved")
        self._states.append(_State(over, then))
        return len(self._states) - 1

    def _build(self, node: _Node, then: int) -> int:
        """The first state of `node`, which goes on to the state `then`."""
        match node:
            case _Letter() | _Edge():
                return self._add(node, (then,))
            case _Row(parts):
                for part in reversed(parts):
                    then = self._build(part, then)
                return then
            case _Either(parts):
                return self._add(None, tuple(self._build(part, then) for part in parts))
            case _Repeat(part, least, most):
                if most is None:
                    again = self._add(None, (then,))
                    self._states[again] = _State(None, (self._build(part, again), then))
                    then = again
                else:
                    after = then
                    for _ in range(most - least):
                        then = self._add(None, (self._build(part, then), after))
                for _ in range(least):
                    then = self._build(part, then)
                return then


_ANY = _Letter(frozenset("\n"), other=True)


@dataclass
class _Parser:
    text: str
    at: int = 0

    def whole(self) -> _Node:
        node = self._either(depth=0)
        if self.at < len(self.text):
            raise self._unknown()
        return node

    def _either(self, depth: int) -> _Node:
        if depth > 8:
            raise self._unknown()
        parts = [self._row(depth)]
        while self._took("|"):
            parts.append(self._row(depth))
        return parts[0] if len(parts) == 1 else _Either(tuple(parts))

    def _row(self, depth: int) -> _Node:
        parts: list[_Node] = []
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            grouped = self.text[self.at] == "("
            parts.append(self._repeated(self._one(depth), grouped=grouped))
        return _Row(tuple(parts))

    def _repeated(self, part: _Node, *, grouped: bool) -> _Node:
        counts = _COUNTS.match(self.text, self.at)
        if self._took("?"):
            least, most = 0, 1
        elif self._took("*"):
            least, most = 0, None
        elif self._took("+"):
            least, most = 1, None
        elif counts:
            self.at = counts.end()
            least = int(counts[1])
            most = least if not counts[2] else int(counts[3]) if counts[3] else None
        else:
            return part
        self._took("?")  # the shortest way or the longest: the names that match are the same
        unlimited = most is None and grouped
        if unlimited or isinstance(part, _Edge) or max(least, most or 0) > MAX_REPEATS or (most or least) < least:
            raise self._unknown()
        return _Repeat(part, least, most)

    def _one(self, depth: int) -> _Node:
        if self._took("(?:") or self._took("("):
            node = self._either(depth + 1)
            if not self._took(")"):
                raise self._unknown()
            return node
        if self._took("["):
            return self._class()
        if self._took("."):
            return _ANY
        if self._took("^"):
            return _Edge("start")
        if self._took("$"):
            return _Edge("end")
        if self._took("\\"):
            return _Letter(self._escaped())
        if not _PLAIN.match(self.text, self.at):
            raise self._unknown()
        self.at += 1
        return _Letter(frozenset(self.text[self.at - 1]))

    def _class(self) -> _Letter:
        other, these = self._took("^"), set[str]()
        while not self._took("]"):
            if self._took("\\"):
                these |= self._escaped()
                continue
            if self.at >= len(self.text) or self.text[self.at] == "[":
                raise self._unknown()
            first = self.text[self.at]
            self.at += 1
            if re.match(r"-[A-Za-z0-9]", self.text[self.at :]):
                last = self.text[self.at + 1]
                self.at += 2
                if not (first.isascii() and first.isalnum() and first <= last):
                    raise self._unknown()
                these.update(chr(code) for code in range(ord(first), ord(last) + 1))
            else:
                these.add(first)
        if not these:
            raise self._unknown()
        return _Letter(frozenset(these), other)

    def _escaped(self) -> frozenset[str]:
        letter = self.text[self.at : self.at + 1]
        self.at += 1
        if letter in _CLASSES:
            return frozenset(_CLASSES[letter])
        if not letter or letter.isalnum():  # \b, \1 and their like
            raise self._unknown()
        return frozenset(letter)

    def _took(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += len(sign)
        return True

    def _unknown(self) -> ValueError:
        return ValueError(f"{self.text[:80]!r} is not understood from character {self.at + 1} on")
