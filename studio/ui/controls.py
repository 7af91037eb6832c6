"""The fold of a stack row: in which layers, when and where one LoRA acts, and whether it is exempt from the fusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lora_loom.pipelines.control import Curve, Region
from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.ui.markup import attributes, button, text

Box = tuple[float, float, float, float]
GROUPS = {
    "structure": ("Structure", "Layout and pose: the coarse layers, early in the network"),
    "identity": ("Identity", "Who and what it is: the layers in between"),
    "style": ("Style", "Colour, texture and line: the fine layers, late in the network"),
    "text": ("Words", "What the LoRA taught the text encoder"),
}
CURVES: Mapping[str, tuple[str, Curve]] = {
    "always": ("Throughout", ()),
    "early": ("Early", ((0.4, 1.0), (0.5, 0.0))),
    "late": ("Late", ((0.4, 0.0), (0.5, 1.0))),
    "in": ("Fade in", ((0.0, 0.0), (1.0, 1.0))),
    "out": ("Fade out", ((0.0, 1.0), (1.0, 0.0))),
}
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
BOXES: Mapping[str, tuple[str, Box]] = {
    "left": ("Left", (0.0, 0.0, 0.5, 1.0)),
    "right": ("Right", (0.5, 0.0, 1.0, 1.0)),
    "top": ("Top", (0.0, 0.0, 1.0, 0.5)),
    "bottom": ("Bottom", (0.0, 0.5, 1.0, 1.0)),
    "box": ("Box", (0.25, 0.25, 0.75, 0.75)),
}
SIDES = ("left", "top", "right", "bottom")
CANVAS = 96  # pixels along the longer side of a painted mask
DATA_URL = "data:image/png;base64,"
MAX_URL = 200_000  # characters of a painted mask as the browser sends it
FACTOR = attributes(min=0, max=2, step=0.05)
ACTIONS = ("block", "curve", "point", "region", "side", "drag", "paint", "words", "exempt")


def edited_control(choice: AdapterChoice, action: str, name: str, value: str, proportions: float) -> AdapterChoice:
    """The choice after one action of its fold; unchanged where that makes no sense, as a browser may send anything."""
    try:
        if action == "exempt":
            region = choice.region and replace(choice.region, prompt="")
            return replace(choice, exempt=not choice.exempt, region=choice.region if choice.exempt else region)
        if action == "block" and name in GROUPS:
            return replace(choice, blocks={**choice.blocks, name: float(value)})
        if action == "curve" and value in CURVES:
            return replace(choice, curve=CURVES[value][1])
        if action == "point":
            return replace(choice, curve=_moved(choice.curve, int(name), float(value)))
        if action in ("region", "side", "drag", "paint", "words"):
            return replace(choice, region=_region(choice.region, action, name, value, proportions))
    except (RequestError, ValueError, KeyError, IndexError):
        pass
    return choice


def _moved(curve: Curve, place: int, value: float) -> Curve:
    """The curve of two points with one of its four numbers changed: progress and factor of the first, of the second."""
    numbers = [number for point in _two(curve) for number in point]
    numbers[place % 4] = value
    return (numbers[0], numbers[1]), (numbers[2], numbers[3])


def _two(curve: Curve) -> Curve:
    return (curve[0], curve[-1]) if len(curve) > 1 else ((0.0, 1.0), (1.0, 1.0))


def _region(region: Region | None, action: str, name: str, value: str, proportions: float) -> Region | None:
    kept = {"prompt": region.prompt, "everywhere": region.everywhere} if region else {}
    if action == "region":
        if value == "everywhere":
            return None
        return _blank(proportions, **kept) if value == "paint" else Region(box=BOXES[value][1], **kept)
    if region is None:
        return None
    if action == "words":
        return replace(region, prompt=value)
    if action == "paint" and value.startswith(DATA_URL):
        painted = Region(mask=value.removeprefix(DATA_URL), **kept)
        painted.image()  # raises RequestError for a broken one
        return painted
    box = [*(region.box or WHOLE)]
    if action == "side":
        box[SIDES.index(name)] = min(max(float(value) / 100, 0.0), 1.0)
    elif action == "drag":
        box = [round(min(max(float(each), 0.0), 1.0), 3) for each in value.split(",")]
    return Region(box=(box[0], box[1], box[2], box[3]), **kept)


def summary(choice: AdapterChoice) -> str:
    """The controls in a few words, empty without any."""
    said = [f"{GROUPS.get(group, (group,))[0].lower()} {factor:g}" for group, factor in choice.blocks.items()]
    if choice.curve:
        said.append(next((title.lower() for title, curve in CURVES.values() if curve == choice.curve), "a curve"))
    if choice.region:
        box = next((title.lower() for title, box in BOXES.values() if box == choice.region.box), "a region")
        said.append(f"{box}: “{choice.region.prompt}”" if choice.region.prompt else box)
    if choice.exempt:
        said.append("exempt")
    return " · ".join(said)


def fold(index: int, choice: AdapterChoice, title: str, proportions: float) -> str:
    """The open fold as HTML; `proportions` is width over height of the picture that masks are painted for."""
    return (
        f'<div class="loom-fold">{_blocks(index, choice, title)}{_curve(index, choice, title)}'
        f"{_place(index, choice, title, proportions)}{_exempt(index, choice, title)}</div>"
    )


def _blocks(index: int, choice: AdapterChoice, title: str) -> str:
    rows = ""
    for group, (label, help_text) in GROUPS.items():
        shared = attributes(
            data_action="block", data_row=index, data_name=group, value=f"{choice.blocks.get(group, 1):g}"
        )
        rows += (
            f'<label class="loom-part" {attributes(title=help_text)}><span>{label}</span>'
            f'<span class="loom-strength"><input type="range" {FACTOR} {shared} {_says(label, title)}>'
            f'<input type="number" step="0.05" {shared} {_says(f"{label} as a number", title)}></span></label>'
        )
    others = [f"{text(group, 60)} {factor:g}" for group, factor in choice.blocks.items() if group not in GROUPS]
    more = f'<p class="loom-quiet">Also {", ".join(others)}.</p>' if others else ""
    return _section("In which layers", rows + more)


def _curve(index: int, choice: AdapterChoice, title: str) -> str:
    pills = _pills("curve", index, {name: (label, choice.curve == curve) for name, (label, curve) in CURVES.items()})
    if not choice.curve:
        return _section("When in the run", pills)
    numbers = [number for point in _two(choice.curve) for number in point]
    names = ("First progress", "Strength at the first", "Second progress", "Strength at the second")
    before = ("at ", " × ", ", at ", " × ")
    fields = "".join(
        f'{before[place]}<input type="number" step="0.05" {_says(names[place], title)} '
        f"{attributes(data_action='point', data_row=index, data_name=place, value=f'{numbers[place]:g}')}>"
        for place in range(4)
    )
    more = f'<p class="loom-quiet">A curve of {len(choice.curve)} points.</p>' if len(choice.curve) > 2 else ""
    return _section(
        "When in the run", f'{pills}<div class="loom-curve">{_plot(choice.curve)}<span>{fields}</span></div>{more}'
    )


def _plot(curve: Curve) -> str:
    """The curve as a small line, from the start of the run on the left to its end on the right."""
    points = [(0.0, curve[0][1]), *curve, (1.0, curve[-1][1])]
    top = max(1.0, *(factor for _, factor in points))
    low = min(0.0, *(factor for _, factor in points))
    line = " ".join(f"{2 + 76 * at:.1f},{26 - 24 * (factor - low) / (top - low):.1f}" for at, factor in points)
    return f'<svg viewBox="0 0 80 28" aria-hidden="true"><polyline points="{line}"/></svg>'


def _place(index: int, choice: AdapterChoice, title: str, proportions: float) -> str:
    region = choice.region
    boxes = {name: (label, bool(region) and region.box == box) for name, (label, box) in BOXES.items()}
    if region and region.box and not any(pressed for _, pressed in boxes.values()):
        boxes["box"] = (BOXES["box"][0], True)
    pills = _pills(
        "region",
        index,
        {"everywhere": ("Everywhere", region is None), **boxes, "paint": ("Paint", bool(region and region.mask))},
    )
    if region is None:
        return _section("Where in the picture", pills)
    tool, hint = ("drag", "Drag a box") if region.box else ("paint", "Paint where it acts")
    width, height = _canvas_size(proportions)
    if region.box:
        left, top, right, bottom = (100 * side for side in region.box)
        shown = (
            f'<span class="loom-box" style="left:{left:.1f}%;top:{top:.1f}%;width:{right - left:.1f}%;'
            f'height:{bottom - top:.1f}%"></span>'
        )
        sides = "".join(_side(index, side, place, title) for side, place in zip(SIDES, region.box, strict=True))
    else:
        shown = f'<img alt="" src="{DATA_URL}{text(region.mask, MAX_URL)}">'
        sides = button("Clear", "region", kind="loom-pill", row=index, value="paint")
        sides += '<p class="loom-problem">Nothing is painted yet: it acts nowhere.</p>' if region.peak == 0 else ""
    canvas = attributes(
        class_="loom-canvas-tool",
        width=width,
        height=height,
        data_tool=tool,
        data_action=tool,
        data_row=index,
        aria_label=f"{hint}: {title}",
    )
    words = (
        ""
        if choice.exempt
        else (
            f'<input type="text" {_says("Own words of the region", title)} maxlength="2000" '
            f'placeholder="Own words for this part (optional)" '
            f"{attributes(data_action='words', data_row=index, value=region.prompt)}>"
        )
    )
    return _section(
        "Where in the picture",
        f'{pills}<div class="loom-region"><span class="loom-sheet" style="aspect-ratio:{proportions:.4f}">{shown}'
        f'<canvas {canvas}></canvas></span><div class="loom-sides">'
        f'<span class="loom-quiet">{hint}</span>{sides}</div></div>{words}',
    )


def _side(index: int, side: str, place: float, title: str) -> str:
    own = attributes(type="number", min=0, max=100, step=5, value=f"{100 * place:g}")
    data = attributes(data_action="side", data_row=index, data_name=side)
    return f"<label>{side.title()}<input {own} {data} {_says(f'{side} side in percent', title)}></label>"


def _exempt(index: int, choice: AdapterChoice, title: str) -> str:
    switch = attributes(
        type="button",
        role="switch",
        class_="loom-switch",
        data_action="exempt",
        data_row=index,
        aria_checked=str(choice.exempt).lower(),
        aria_label=f"Keep {title} out of the fusion",
    )
    return (
        f'<div class="loom-part" title="For LoRAs that speed up the base or act as sliders"><button {switch}></button>'
        "<span>Keep out of the fusion: acts in every pass at its strength</span></div>"
    )


def _pills(action: str, index: int, choices: Mapping[str, tuple[str, bool]]) -> str:
    def pill(name: str, label: str, pressed: bool) -> str:
        looks = attributes(type="button", class_="loom-pill", aria_pressed=str(pressed).lower())
        return f"<button {looks} {attributes(data_action=action, data_row=index, data_value=name)}>{label}</button>"

    pills = "".join(pill(name, *how) for name, how in choices.items())
    return f'<div class="loom-pills">{pills}</div>'


def _section(heading: str, content: str) -> str:
    return f"<section><h4>{heading}</h4>{content}</section>"


def _says(what: str, title: str) -> str:
    return attributes(aria_label=f"{what}: {title}")


def _canvas_size(proportions: float) -> tuple[int, int]:
    if proportions >= 1:
        return CANVAS, max(round(CANVAS / proportions), 1)
    return max(round(CANVAS * proportions), 1), CANVAS


def _blank(proportions: float, **kept: Any) -> Region:
    from PIL import Image

    return Region.painted(Image.new("L", _canvas_size(proportions), 0), **kept)


def proportions_of(width: object, height: object) -> float:
    """Width over height of the picture asked for; square where the base's own size is used."""
    sides: Sequence[float] = [
        side for side in (width, height) if isinstance(side, int | float) and not isinstance(side, bool)
    ]
    if len(sides) < 2 or not all(math.isfinite(side) and side > 0 for side in sides):
        return 1.0
    return min(max(sides[0] / sides[1], 0.1), 10.0)
