"""Text from a file made safe to show: short, one kind of space, nothing that moves the cursor or the reader."""

from __future__ import annotations

import unicodedata

# Control, format (bidirectional overrides, zero widths), surrogate, private and unassigned characters.
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})


def display_text(text: str, limit: int = 200) -> str:
    """`text` in at most `limit` characters, without control and formatting characters; line ends become spaces.

    It is still text: whoever puts it into HTML, a shell or a file name has to escape it for that place.
    """
    if len(text) <= limit and text.isascii() and text.isprintable() and " " not in text:
        return text  # nearly every key of every file
    window = text[: 4 * limit]  # a megabyte of invisible characters is not looked through
    visible = "".join(" " if char.isspace() else char for char in window if _shown(char))
    line = " ".join(visible.split())
    if len(line) > limit:
        return f"{line[: limit - 1]}…"
    return f"{line}…" if len(text) > len(window) and line else line


def display_names(names: list[str] | tuple[str, ...], most: int = 3) -> str:
    """The first few names of a list and how many more there are: `a, b, c and 4 more`."""
    shown = ", ".join(display_text(name, 120) for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def _shown(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) not in _INVISIBLE
