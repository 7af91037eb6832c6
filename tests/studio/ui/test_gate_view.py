"""The map of gates beside a picture: colours by the gate, and plain words where there is nothing to see."""

import io
from dataclasses import replace

from PIL import Image

from lora_loom.pipelines.gating.heat_map import HeatMap
from lora_loom.studio.ui.gate_view import BLUE, NEUTRAL, RED, gate_png, gate_view

HEAT = HeatMap(
    gate="loud",
    layers=("down 0.0", "down 0.1", "up 1.0"),
    progress=(0.0, 0.5),
    adapters=("fox", "ink"),
    values=(((0.0, 1.0), (1.0, 1.0)), ((1.0, None), (1.0, None)), ((2.0, 0.5), (2.5, 1.5))),
)


def test_a_pixel_per_layer_and_step():
    with Image.open(io.BytesIO(gate_png(HEAT, 0))) as image:
        assert image.size == (2, 3)
        assert [image.getpixel((0, y))[:3] for y in range(3)] == [RED, NEUTRAL, BLUE]
        assert image.getpixel((1, 2))[:3] == BLUE
    with Image.open(io.BytesIO(gate_png(HEAT, 1))) as image:
        assert image.getpixel((0, 1))[3] == 0  # no such layer


def test_it_says_what_it_shows():
    view = gate_view(HEAT, {})
    assert view.count("<img") == 2
    assert "× 1.25 on average" in view  # of fox
    assert "by loud" in view
    assert "Blue is turned up" in view
    assert 'style="flex-grow:2">down<' in view


def test_an_untrained_gate_and_none_at_all():
    ones = tuple(((1.0, 1.0),) * 2 for _ in range(3))
    assert "This gate is untrained" in gate_view(replace(HEAT, values=ones, trained=False), {})
    assert "the work of its settings" in gate_view(replace(HEAT, trained=False), {})  # top_k shuts some all the same
    assert "left every LoRA as it is" in gate_view(replace(HEAT, values=ones), {})
    assert "no gate for this base was found" in gate_view(HeatMap("", (), (), ("fox",), (), trained=False), {})
    assert gate_view(None, {}) == ""
