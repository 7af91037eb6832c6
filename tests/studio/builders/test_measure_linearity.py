"""Linearity and cross-talk: known lines and bends, known talk, and a run on tiny random models."""

from types import SimpleNamespace

import numpy as np
import pytest

from lora_loom.pipelines.families import FusionPipeline
from lora_loom.pipelines.measured.calibrate import STRENGTHS, Response
from lora_loom.pipelines.measured.response import ResponseCurve
from lora_loom.studio.builders.measure_linearity import (
    SETTINGS,
    SWEEP,
    cross_talk_row,
    linearity_rows,
    measure_one,
    measure_pair,
    straightness,
)
from lora_loom.studio.testbed.sets import sets_of

PAIR = sets_of("test", (2,))[0]


def response(effects, n=8, noise=0.0):
    rng = np.random.default_rng(0)
    parts = tuple(tuple(float(effect + noise * rng.normal()) for _ in range(n)) for effect in effects)
    return Response(tuple(SETTINGS), parts, (1.0,) * n)


def test_a_line_is_straight_and_a_bend_is_less():
    assert straightness(SETTINGS, [2.0 + 3.0 * s for s in SETTINGS]) == pytest.approx(1.0)
    steep = straightness(SETTINGS, [1.0 / (1.0 + np.exp(-30 * (s - 0.5))) for s in SETTINGS])
    assert 0.5 < steep < 0.9


def test_rows_hold_the_line_or_not():
    line, bend = response(SETTINGS, noise=0.01), response([s**4 for s in SETTINGS], noise=0.01)
    good, plain = linearity_rows("fox", line, line, bend)
    assert good["holds"]
    assert good["ci_low"] <= good["value"] <= good["ci_high"]
    assert plain["value"] < 0.9
    assert plain["holds"] is None
    assert not linearity_rows("fox", line, bend, line)[0]["holds"]


def test_cross_talk_is_the_share_of_the_own_range():
    row = cross_talk_row("fox+ink", "fox", "ink", [0.1] * 6, [[0.9] * 6, [0.86] * 6, [0.94] * 6])
    assert row["value"] == pytest.approx(0.05)
    assert row["holds"]
    lost = cross_talk_row("fox+ink", "fox", "ink", [0.1] * 6, [[0.9] * 6, [0.5] * 6, [0.1] * 6])
    assert lost["value"] == pytest.approx(1.0)
    assert not lost["holds"]
    nothing = cross_talk_row("fox+ink", "fox", "ink", [0.2] * 6, [[0.2] * 6, [0.2] * 6, [0.2] * 6])
    assert (nothing["value"], nothing["holds"]) == (99.0, False)


@pytest.fixture(scope="module")
def pipe(tiny_pocket):
    made = FusionPipeline.from_pretrained(str(tiny_pocket))
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def loras(write_lora, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loras")
    return [write_lora(folder / f"{name}.safetensors", seed=seed) for seed, name in enumerate(PAIR.members)]


def test_one_lora_is_measured_on_other_pictures_than_it_is_calibrated_on(pipe, loras):
    held = measure_one(pipe, loras[0], count=2, steps=2)
    curve = ResponseCurve.from_json(held["curve"])
    assert held["learnt"]["strengths"] == STRENGTHS
    assert held["at_sliders"]["strengths"] == tuple(curve.strength(s) for s in SETTINGS)
    assert held["learnt"]["wholes"] != held["at_strengths"]["wholes"]


def test_a_pair_is_swept_both_ways(pipe, loras):
    for path in loras:
        pipe.load_lora_weights(str(path), adapter_name=path.stem)
    seen = []

    def probabilities(pictures):
        seen.append(pictures.shape)
        return {factor: np.full((len(pictures), 1), pictures.mean() / 255) for factor in PAIR.expected}

    judge = SimpleNamespace(spec=SimpleNamespace(classes={f: (name,) for f, name in PAIR.expected.items()}))
    judge.probabilities = probabilities
    curves = dict.fromkeys(PAIR.members, ResponseCurve((0.0, 1.0), (0.0, 1.0)))
    rows = measure_pair(pipe, judge, PAIR, curves, count=2, steps=2)
    assert [(row["swept"], row["attribute"]) for row in rows] == [PAIR.members, PAIR.members[::-1]]
    assert len(seen) == 2 * (1 + len(SWEEP))
    assert seen[0][0] == 2
    pipe.unload_lora_weights()
