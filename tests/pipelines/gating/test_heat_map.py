"""The map of gates: pooled by stages and steps, written and read back, and whatever else a stranger wrote refused."""

import json
from dataclasses import replace

import pytest

from lora_loom.pipelines.gating.heat_map import HeatMap

LAYERS = (
    "down_blocks.0.attentions.0.proj_in",
    "down_blocks.0.attentions.0.proj_out",
    "mid_block.attentions.0.proj_in",
    "up_blocks.1.attentions.0.proj_in",
)
HEAT = HeatMap(
    gate="loud",
    layers=LAYERS,
    progress=(0.0, 0.25, 0.5, 0.75),
    adapters=("fox", "ink"),
    values=(
        ((0.0, 1.0),) * 4,
        ((1.0, None),) * 4,
        ((2.0, 1.5),) * 2 + ((0.0, 0.5),) * 2,
        ((1.0, None),) * 4,
    ),
)


def test_pooling_takes_means_by_stage_and_step():
    small = HEAT.pooled(rows=3, columns=2)
    assert small.layers == ("down 0.0", "mid 0", "up 1.0")
    assert small.progress == (0.0, 0.5)
    assert small.values == (((0.5, 1.0),) * 2, ((2.0, 1.5), (0.0, 0.5)), ((1.0, None),) * 2)
    assert (small.gate, small.adapters, small.trained) == ("loud", ("fox", "ink"), True)
    assert HEAT.mean("fox") == 0.75
    (row,) = HEAT.pooled(rows=1, columns=1).values
    assert row == ((0.75, 1.0),)
    assert HEAT.pooled(rows=2).layers == ("down 0.0", "mid 0 to up 1.0")


def test_a_map_of_nothing_stays_one():
    nothing = HeatMap("", (), (), ("fox",), (), trained=False)
    assert nothing.pooled() == nothing
    assert nothing.mean("fox") is None


def test_what_was_written_is_read():
    assert HeatMap.from_dict(json.loads(json.dumps(HEAT.to_dict()))) == HEAT


def test_what_is_no_map_is_refused(subtests):
    cases = [
        {"values": []},
        {"values": [[[1.0]] * 4] * 4},
        {"progress": [0.0]},
        {"progress": 5},
        {"adapters": ["fox", 3]},
        {"layers": ["x"] * 2_000},
        {"trained": "yes"},
        {"gate": None},
        {"more": 1},
        {"values": [[["1", 1.0]] * 4] * 4},
        {"values": [[[-1.0, 1.0]] * 4] * 4},
        {"values": [[[float("nan"), 1.0]] * 4] * 4},
    ]
    for change in cases:
        with subtests.test(change=change):
            with pytest.raises(ValueError, match="no map of gates"):
                HeatMap.from_dict({**HEAT.to_dict(), **change})
            with pytest.raises(ValueError, match="no map of gates"):
                HeatMap.from_dict({"gate": "loud"})


def test_an_untrained_map_says_so():
    assert HeatMap.from_dict(replace(HEAT, trained=False).to_dict()).trained is False
