"""What stands beside the prompt: words the base model does not know, each with close ones to put in its place."""

from __future__ import annotations

from collections.abc import Sequence

from lora_loom.studio.ui.markup import button, text
from lora_loom.studio.words import UnknownWord

MAX_SHOWN = 6


def words_view(unknown: Sequence[UnknownWord], known: Sequence[str]) -> str:
    """The unknown words of the prompt, and all known words to look up; nothing where the model can read every word."""
    if not unknown:
        return ""
    rows = "".join(_row(one) for one in unknown[:MAX_SHOWN])
    rest = f"<li>and {len(unknown) - MAX_SHOWN} more</li>" if len(unknown) > MAX_SHOWN else ""
    listing = ", ".join(text(word, 40) for word in sorted(known))
    return (
        f'<div class="loom-words" role="status"><ul>{rows}{rest}</ul>'
        f"<details><summary>All {len(known)} words it knows</summary><p>{listing}</p></details></div>"
    )


def replaced(prompt: str, word: str, by: str) -> str:
    """The prompt with `word` replaced wherever it stands between spaces and commas."""
    parts = prompt.replace(",", " , ").split(" ")
    joined = " ".join(by if part == word else part for part in parts)
    return joined.replace(" , ", ", ").replace(" ,", ",").strip()


def _row(one: UnknownWord) -> str:
    fixes = "".join(
        button(
            text(word, 40), "replace", kind="loom-trigger", title=f"Replace it by “{word}”", word=one.word, value=word
        )
        for word in one.suggestions
    )
    advice = f" Did you mean {fixes}" if fixes else " It has no effect on the picture."
    return f"<li>The base model does not know <mark>{text(one.word, 60)}</mark>.{advice}</li>"
