"""The picture of a run's gates."""

import pytest
from PIL import Image

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.gating.heat_map import HeatMap
from lora_loom.studio.heat_plot import save_heat_plot

HEAT = HeatMap(
    gate="loud",
    layers=("down.a", "up.b"),
    progress=(0.0, 0.5, 0.9),
    adapters=("fox", "ink"),
    values=(((0.2, None), (0.3, None), (0.4, None)), ((1.0, 1.9), (1.0, 1.8), (1.0, 1.7))),
)


def test_it_is_a_picture_of_all_adapters(tmp_path):
    pytest.importorskip("matplotlib")
    save_heat_plot(HEAT, tmp_path / "heat.png")
    with Image.open(tmp_path / "heat.png") as picture:
        colours = set(picture.convert("RGB").get_flattened_data())
    assert any(r > 180 and b < 120 for r, g, b in colours)  # turned down
    assert any(b > 150 and r < 110 for r, g, b in colours)  # turned up


def test_nothing_to_draw(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(RequestError, match="no gates"):
        save_heat_plot(HeatMap("", (), (), (), ()), tmp_path / "heat.png")
