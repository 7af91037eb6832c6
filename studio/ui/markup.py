"""What views share beside templates: the script that sends what is pressed, colours of threads, addresses of files.

HTML is made by the templates of `studio.templates`, which escape every text. It is only ever a component's value, never
part of a component's template: Gradio compiles those as JavaScript, so a `${...}` from a file would run there, while a
value is inserted as it is.
"""

from __future__ import annotations

import base64
import urllib.parse
from pathlib import Path

from markupsafe import Markup

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


def file_url(path: Path) -> str:
    """The address of a file in a folder that the server may serve, relative so that it also works behind a proxy."""
    status = path.stat() if path.is_file() else None
    version = f"?v={status.st_mtime_ns:x}" if status else ""
    return f"gradio_api/file={urllib.parse.quote(str(path))}{version}"


def category_colour(category: str) -> int:
    """The number of the thread colour of a category: 1 to 5 for those known, 6 to 8 for all others."""
    return STRANDS.get(category) or STRANDS.get(category.removesuffix("s")) or 6 + sum(category.encode()) % 3


def data_url(kind: str, content: bytes) -> Markup:
    """A picture as an address that holds it; `kind` is png or webp."""
    return Markup(f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}")
