"""What stands beside the prompt: words the base model does not know, each with close ones to put in its place."""

from __future__ import annotations

from collections.abc import Sequence

from lora_loom.studio.templates import render
from lora_loom.studio.words import UnknownWord

MAX_SHOWN = 6


def words_view(unknown: Sequence[UnknownWord], known: Sequence[str]) -> str:
    """The unknown words of the prompt, and all known words to look up; nothing where the model can read every word."""
    if not unknown:
        return ""
    rest = max(len(unknown) - MAX_SHOWN, 0)
    return render("ui/words_view.html.j2", shown=unknown[:MAX_SHOWN], rest=rest, known=sorted(known))


def replaced(prompt: str, word: str, by: str) -> str:
    """The prompt with `word` replaced wherever it stands between spaces and commas."""
    parts = prompt.replace(",", " , ").split(" ")
    joined = " ".join(by if part == word else part for part in parts)
    return joined.replace(" , ", ", ").replace(" ,", ",").strip()
