"""The details of a stack row: in which layers, when and where one LoRA acts, and whether it is out of the fusion."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.adapter_choice import choice_fields
from lora_loom.pipelines.requests.control import Curve, Region
from lora_loom.studio.templates import cut, render

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
LABELS = {name: declared.label for name, declared in choice_fields().items()}
SUMMED = ("name", "strength", "blocks", "curve", "region", "exempt", "forced")  # told in words of their own
ACTIONS = ("block", "curve", "point", "region", "side", "drag", "paint", "words", "exempt")


def edited_control(choice: AdapterChoice, action: str, name: str, value: str, proportions: float) -> AdapterChoice:
    """The choice after one action of its details; unchanged where it makes no sense: a browser may send anything."""
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
    if choice.forced:
        said.append("by force")
    for name, declared in choice_fields().items():
        if name not in SUMMED and (value := getattr(choice, name)) != declared.default:
            said.append(f"{declared.label.lower()} {f'{value:g}' if isinstance(value, float) else value}")
    return " · ".join(said)


def details(index: int, choice: AdapterChoice, title: str, proportions: float) -> str:
    """The open details as HTML; `proportions` is width over height of the picture that masks are painted for."""
    region = choice.region
    return render(
        "ui/controls.html.j2",
        index=index,
        labels=LABELS,
        choice=choice,
        title=title,
        proportions=proportions,
        blocks=[(group, *said, choice.blocks.get(group, 1)) for group, said in GROUPS.items()],
        others=[(group, factor) for group, factor in choice.blocks.items() if group not in GROUPS],
        curves=[(name, label, choice.curve == curve) for name, (label, curve) in CURVES.items()],
        points=_points(choice.curve) if choice.curve else [],
        line=_plot(choice.curve) if choice.curve else "",
        places=_places(region),
        sides=[*zip(SIDES, region.box, strict=True)] if region and region.box else [],
        mask=Markup(DATA_URL) + cut(region.mask, MAX_URL) if region and region.mask else "",
        canvas=_canvas_size(proportions),
    )


def _points(curve: Curve) -> list[tuple[str, str, float]]:
    """What stands before each of the four numbers of a curve, its name, and the number."""
    numbers = [number for point in _two(curve) for number in point]
    names = ("First progress", "Strength at the first", "Second progress", "Strength at the second")
    return [*zip(("at ", " × ", ", at ", " × "), names, numbers, strict=True)]


def _plot(curve: Curve) -> str:
    """The curve as points of a small line, from the start of the run on the left to its end on the right."""
    points = [(0.0, curve[0][1]), *curve, (1.0, curve[-1][1])]
    top = max(1.0, *(factor for _, factor in points))
    low = min(0.0, *(factor for _, factor in points))
    return " ".join(f"{2 + 76 * at:.1f},{26 - 24 * (factor - low) / (top - low):.1f}" for at, factor in points)


def _places(region: Region | None) -> list[tuple[str, str, bool]]:
    """Name, label and whether it is in force, of everywhere, the boxes and a painted region."""
    boxes = {name: (label, bool(region) and region.box == box) for name, (label, box) in BOXES.items()}
    if region and region.box and not any(pressed for _, pressed in boxes.values()):
        boxes["box"] = (BOXES["box"][0], True)
    painted = ("paint", "Paint", bool(region and region.mask))
    return [("everywhere", "Everywhere", region is None), *((name, *how) for name, how in boxes.items()), painted]


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
