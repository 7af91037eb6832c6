"""The banner: an error laid out as what went wrong, what was expected, what came, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.ui.markup import button, text


def error_banner(error: LoomError | Mapping[str, str]) -> str:
    """The banner for an error, or for its parts as a job keeps them."""
    parts = error.to_dict() if isinstance(error, LoomError) else error
    what = parts.get("what") or parts.get("message") or "something went wrong"
    rows = "".join(
        f"<div><dt>{label}</dt><dd>{text(parts[key], 1_000)}</dd></div>"
        for key, label in (("expected", "Expected"), ("found", "Found"), ("remedy", "What to do"))
        if parts.get(key)
    )
    return _banner("error", _sentence(what), f"<dl>{rows}</dl>" if rows else "", kind=parts.get("type", ""))


def notice_banner(title: str, lines: Sequence[str] = (), *, warning: bool = False) -> str:
    """A banner that tells something: a title and lines, all plain text."""
    items = "".join(f"<li>{text(_sentence(line), 1_000)}</li>" for line in lines)
    return _banner("warning" if warning else "notice", title, f"<ul>{items}</ul>" if items else "")


def _banner(tone: str, title: str, body: str, *, kind: str = "") -> str:
    close = button("✕", "dismiss", kind="loom-icon", title="Close this message")
    role = "status" if tone == "notice" else "alert"
    return (
        f'<div class="loom-banner loom-{tone}" role="{role}" data-kind="{text(kind)}">'
        f"<div><strong>{text(title, 1_000)}</strong>{body}</div>{close}</div>"
    )


def _sentence(words: str) -> str:
    """With a capital, unless it begins with a name that has its own spelling, such as that of a file."""
    first = words.split(" ", 1)[0]
    return words[:1].upper() + words[1:] if first.isalpha() else words
