"""The banner: an error laid out as what went wrong, what was expected, what came, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.templates import render
from lora_loom.studio.ui.without_paths import without_paths

JOBS = "jobs"  # what the button that closes the banner on the list of jobs says it is about


def error_banner(error: LoomError | Mapping[str, str]) -> str:
    """The banner for an error, or for its parts as a job keeps them."""
    parts = dict(error.to_dict() if isinstance(error, LoomError) else error)
    if parts.get("by_force"):  # the page has a button where a command has an option
        from lora_loom.pipelines.adapters.match import BY_FORCE

        parts["remedy"] = parts.get("remedy", "").replace(BY_FORCE, "or load what fits with the button below")
    what = parts.get("what") or parts.get("message") or "something went wrong"
    named = (("expected", "Expected"), ("found", "Found"), ("remedy", "What to do"))
    rows = [(label, parts[key]) for key, label in named if parts.get(key)]
    return _banner("error", _sentence(what), parts=rows, kind=parts.get("type", ""), by_force=parts.get("by_force", ""))


def notice_banner(title: str, lines: Sequence[str] = (), *, warning: bool = False) -> str:
    """A banner that tells something: a title and lines, all plain text."""
    return _banner("warning" if warning else "notice", title, lines=[_sentence(line) for line in lines])


def jobs_banner(notice: str) -> str:
    """The banner on how the list of jobs was found, empty for an empty notice."""
    return _banner("warning", "Not all jobs were found again", lines=[_sentence(notice)], about=JOBS) if notice else ""


def _banner(
    tone: str,
    title: str,
    *,
    parts: Sequence[tuple[str, str]] = (),
    lines: Sequence[str] = (),
    kind: str = "",
    by_force: str = "",
    about: str = "",
) -> str:
    shown = {
        "title": without_paths(title),
        "parts": [(label, without_paths(words)) for label, words in parts],
        "lines": [without_paths(line) for line in lines],
    }
    return render("ui/banner.html.j2", tone=tone, kind=kind, by_force=by_force, about=about, **shown)


def _sentence(words: str) -> str:
    """With a capital, unless it begins with a name that has its own spelling, such as that of a file."""
    first = words.split(" ", 1)[0]
    return words[:1].upper() + words[1:] if first.isalpha() else words
