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
    if (!target || !element.contains(target) || target.matches('input, canvas')) return;
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
// A canvas with a data-tool is drawn on: "drag" sends the corners of a box, "paint" a PNG of all that is painted.
let stroke = null;
const place = (event, canvas) => {
    const frame = canvas.getBoundingClientRect(), unit = (value) => Math.min(Math.max(value, 0), 1);
    return [unit((event.clientX - frame.left) / frame.width), unit((event.clientY - frame.top) / frame.height)];
};
const draw = ({canvas, start, last}, [x, y]) => {
    const {width, height} = canvas, pen = canvas.getContext('2d');
    if (canvas.dataset.tool === 'drag') {
        pen.clearRect(0, 0, width, height);
        pen.fillStyle = 'rgb(255 255 255 / 60%)';
        pen.fillRect(start[0] * width, start[1] * height, (x - start[0]) * width, (y - start[1]) * height);
        return;
    }
    Object.assign(pen, {lineWidth: Math.max(width, height) / 7, lineCap: 'round', strokeStyle: 'white'});
    pen.beginPath();
    pen.moveTo(last[0] * width, last[1] * height);
    pen.lineTo(x * width + 0.01, y * height);
    pen.stroke();
};
const painted = (canvas) => {
    const sheet = Object.assign(document.createElement('canvas'), {width: canvas.width, height: canvas.height});
    const pen = sheet.getContext('2d'), before = canvas.parentElement.querySelector('img');
    pen.fillRect(0, 0, sheet.width, sheet.height);
    if (before) pen.drawImage(before, 0, 0, sheet.width, sheet.height);
    pen.drawImage(canvas, 0, 0);
    return sheet.toDataURL('image/png');
};
element.addEventListener('pointerdown', (event) => {
    const canvas = event.target.closest('canvas[data-tool]');
    if (!canvas) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    const start = place(event, canvas);
    stroke = {canvas, start, last: start};
    draw(stroke, start);
});
element.addEventListener('pointermove', (event) => {
    if (!stroke) return;
    const now = place(event, stroke.canvas);
    draw(stroke, now);
    stroke.last = now;
});
element.addEventListener('pointerup', () => {
    if (!stroke) return;
    const {canvas, start, last} = stroke;
    stroke = null;
    const box = [0, 1].map((axis) => Math.min(start[axis], last[axis]));
    box.push(...[0, 1].map((axis) => Math.max(start[axis], last[axis])));
    const value = canvas.dataset.tool === 'paint' ? painted(canvas) : box.map((side) => side.toFixed(3)).join();
    send(canvas, {value});
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
