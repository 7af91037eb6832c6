"""The gates of a picture beside its settings: for each LoRA a small map, layers down and steps across."""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import groupby

from lora_loom.pipelines.gating.heat_map import HeatMap
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.templates import render
from lora_loom.studio.ui.markup import data_url

RED, NEUTRAL, BLUE = (186, 36, 52), (236, 234, 230), (38, 102, 172)  # a gate of 0, of 1, of 2 and more
ABSENT = (0, 0, 0, 0)
MAX_SHOWN = 12
EVEN = 0.005  # as far from 1 as all gates of a map may be to be called alike


def gate_view(heat: HeatMap | None, cards: Mapping[str, AdapterCard]) -> str:
    """The maps of all LoRAs with what they say; nothing for a picture that was drawn without a learned gate."""
    if heat is None:
        return ""
    if not heat.layers:
        why = "no two LoRAs share a layer" if heat.gate else "no gate for this base was found"
        said = f"None were at work, as {why}: this is what Merge draws."
        return render("ui/gate_view.html.j2", gate="", said=said, maps=[])
    maps = [_map(heat, k, cards) for k in range(min(len(heat.adapters), MAX_SHOWN))]
    said = _said(heat)
    return render("ui/gate_view.html.j2", gate=heat.gate, said=said, depth=_depth(heat), maps=maps)


def gate_png(heat: HeatMap, adapter: int) -> bytes:
    """The map of one adapter as a PNG of a pixel per layer and step; transparent where it has no such layer."""
    from PIL import Image

    image = Image.new("RGBA", (max(len(heat.progress), 1), max(len(heat.layers), 1)))
    image.putdata([_colour(step[adapter]) for layer in heat.values for step in layer] or [ABSENT])
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _colour(gate: float | None) -> tuple[int, ...]:
    if gate is None:
        return ABSENT
    end, share = (BLUE, min(gate - 1, 1.0)) if gate >= 1 else (RED, 1 - gate)
    return (*(round(from_ + share * (to - from_)) for from_, to in zip(NEUTRAL, end, strict=True)), 255)


def _said(heat: HeatMap) -> str:
    """What the maps say, in a sentence or two."""
    numbers = [gate for layer in heat.values for step in layer for gate in step if gate is not None]
    even = all(abs(gate - 1) <= EVEN for gate in numbers)
    if not heat.trained and even:
        return "This gate is untrained: it leaves every LoRA as it is, so this is what Merge draws."
    if even:
        return "The gate left every LoRA as it is."
    why = "" if heat.trained else "This gate is untrained; what moves is the work of its settings. "
    return f"{why}Blue is turned up, red turned down. Layers run from top to bottom, steps from left to right."


def _map(heat: HeatMap, k: int, cards: Mapping[str, AdapterCard]) -> tuple[str, str, str]:
    """Title, the mean gate in words, and the picture."""
    name = heat.adapters[k]
    mean = heat.mean(name)
    said = "not in these layers" if mean is None else f"× {mean:.2f} on average"
    return cards[name].title if name in cards else name, said, data_url("png", gate_png(heat, k))


def _depth(heat: HeatMap) -> list[tuple[str, int]]:
    """The parts of the model down the side, as high as their layers are many."""
    words = [layer.split(" ")[0] for layer in heat.layers]
    return [(word, len(list(same))) for word, same in groupby(words)]
