"""The gates of a run as a picture: a panel per adapter, layers down, steps across, red where it was turned down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_loom.pipelines.atomic_file import atomic_file
from lora_loom.pipelines.errors import OutputError, RequestError

if TYPE_CHECKING:
    from lora_loom.pipelines.gating.heat_map import HeatMap

SHOWN_LAYERS = 40  # names on the axis at most


def save_heat_plot(heat: HeatMap, path: Path) -> None:
    """Write the map as a PNG. Raises RequestError for an empty map, OutputError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OutputError("gates cannot be drawn", expected="matplotlib", remedy="pip install matplotlib") from error
    if not heat.layers:
        raise RequestError("there are no gates to draw", expected="a run with two LoRAs or more that share layers")
    values: list[Any] = [
        [[float("nan") if step[k] is None else step[k] for step in layer] for layer in heat.values]
        for k in range(len(heat.adapters))
    ]
    figure = Figure(figsize=(2.2 * len(heat.adapters) + 4.5, 8), layout="constrained")
    panels: Any = figure.subplots(1, len(heat.adapters), sharey=True, squeeze=False)[0]
    image: Any = None
    for panel, name, gates in zip(panels, heat.adapters, values, strict=True):
        image = panel.imshow(gates, aspect="auto", cmap="RdBu", vmin=0.0, vmax=2.0, interpolation="nearest")
        panel.set_title(name, fontsize=9)
        panel.set_xlabel("step")
    every = -(-len(heat.layers) // SHOWN_LAYERS)
    panels[0].set_yticks(range(0, len(heat.layers), every), heat.layers[::every], fontsize=5)
    figure.colorbar(image, ax=list(panels), label=f"mean gate ({heat.gate or 'no gate for this base'})")
    with atomic_file(path) as file:
        figure.savefig(file, format="png", dpi=110)
