"""Undo in the Compose tab: what the stack was before its last changes, and the form where a change replaced it too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lora_loom.studio.ui.stack import StackRow

MOST = 50  # changes that can be taken back


@dataclass(frozen=True)
class Before:
    """The stack before a change, and the form's values by name, or None where the change left the form alone."""

    stacked: tuple[StackRow, ...]
    form: Mapping[str, Any] | None = None


Past = tuple[Before, ...]  # the oldest first


def remembered(past: Past, stacked: Sequence[StackRow], form: Mapping[str, Any] | None = None) -> Past:
    """The past with one more moment; the oldest is forgotten beyond `MOST`."""
    return (*past, Before(tuple(stacked), form))[-MOST:]


def differs(one: Sequence[StackRow], other: Sequence[StackRow]) -> bool:
    """Whether two stacks draw something else; a row that was only folded or expanded is no change to take back."""
    return [replace(each, expanded=False) for each in one] != [replace(each, expanded=False) for each in other]
