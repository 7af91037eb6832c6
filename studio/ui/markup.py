"""Text and files as HTML: the one place where words that came from outside become part of the page.

Every piece of text goes through `text`. Finished HTML is only ever a component's value, never part of a template:
Gradio compiles templates as JavaScript, so a `${...}` from a file would run there, while a value is inserted as it
is.
"""

from __future__ import annotations

import html
import urllib.parse
from collections.abc import Mapping
from pathlib import Path

MAX_CHARACTERS = 4_000
STRANDS = {"character": 1, "object": 2, "accessory": 3, "background": 4, "style": 5}  # category -> colour of its thread

# Whatever can be pressed carries data-action; the component sends all of its data-* values as one event.
ON_ACTION = """
const send = (target, extra) => trigger('act', {...target.dataset, ...extra});
element.addEventListener('click', (event) => {
    const target = event.target.closest('[data-action]');
    if (!target || !element.contains(target) || target.matches('input')) return;
    event.preventDefault();
    if (!target.dataset.confirm || window.confirm(target.dataset.confirm)) send(target, {});
});
element.addEventListener('change', (event) => {
    if (event.target.matches('input[data-action]')) send(event.target, {value: event.target.value});
});
element.addEventListener('input', (event) => {
    if (!event.target.matches('input[type=range][data-action]')) return;
    const number = event.target.parentElement.querySelector('input[type=number]');
    if (number) number.value = event.target.value;
});
"""


def text(value: object, maximum: int = MAX_CHARACTERS) -> str:
    """`value` as text that is safe between tags and inside quoted attributes, cut at `maximum` characters."""
    words = str(value)
    if len(words) > maximum:
        words = f"{words[: maximum - 1]}…"
    return html.escape(words, quote=True)


def attributes(**values: object) -> str:
    """HTML attributes with escaped values; `data_id` is written data-id, None and False are left out, True is bare."""
    parts = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        name = name.rstrip("_").replace("_", "-")
        parts.append(name if value is True else f'{name}="{text(value)}"')
    return " ".join(parts)


def button(label: str, action: str, *, kind: str = "", title: str = "", **data: object) -> str:
    """A button that sends `action` with its data. `label` is HTML of ours or text that has been through `text`."""
    names = {f"data_{name}": value for name, value in data.items()}
    own = attributes(
        type="button", class_=kind or "loom-button", title=title or None, aria_label=title or None, data_action=action
    )
    return f"<button {own} {attributes(**names)}>{label}</button>"


def file_url(path: Path) -> str:
    """The address of a file in a folder that the server may serve, relative so that it also works behind a proxy."""
    status = path.stat() if path.is_file() else None
    version = f"?v={status.st_mtime_ns:x}" if status else ""
    return f"gradio_api/file={urllib.parse.quote(str(path))}{version}"


def chip(category: str) -> str:
    """A category as a small label in the colour of its thread."""
    return f'<span class="loom-chip loom-strand-{strand(category)}">{text(category, 40)}</span>'


def strand(category: str) -> int:
    """The number of the thread colour of a category: 1 to 5 for those known, 6 to 8 for all others."""
    return STRANDS.get(category) or STRANDS.get(category.removesuffix("s")) or 6 + sum(category.encode()) % 3


def facts(rows: Mapping[str, str]) -> str:
    """A list of names with values; the values are HTML."""
    lines = "".join(f"<dt>{text(name)}</dt><dd>{value}</dd>" for name, value in rows.items() if value)
    return f'<dl class="loom-facts">{lines}</dl>'
