"""The response curve: monotone, through its points, inverted exactly, and what its file may hold."""

import math

import pytest

from lora_loom.pipelines.errors import AdapterFileError
from lora_loom.pipelines.measured.response import ResponseCurve, fitted

STRENGTHS = tuple(k / 4 for k in range(7))
SIGMOID = (0.0, 0.02, 0.2, 0.75, 1.0, 1.05, 1.05)


@pytest.fixture
def curve():
    return ResponseCurve(STRENGTHS, SIGMOID, measure="judge", pictures=32, adapter_sha256="ab", base_model="pocket")


def test_it_is_scipys_pchip(curve):
    scipy = pytest.importorskip("scipy.interpolate")
    theirs = scipy.PchipInterpolator(STRENGTHS, SIGMOID)
    for x in (k / 100 for k in range(151)):
        assert curve.effect(x) == pytest.approx(float(theirs(x)), abs=1e-12)


def test_it_goes_through_its_points_and_never_falls(curve):
    assert [curve.effect(x) for x in STRENGTHS] == pytest.approx(SIGMOID)
    effects = [curve.effect(k / 200) for k in range(301)]
    assert effects == sorted(effects)


def test_a_slider_of_effects_is_linear(curve):
    for effect in (0.0, 0.05, 0.3, 0.5, 0.9, 1.0, 1.04):
        assert curve.effect(curve.strength(effect)) == pytest.approx(effect, abs=1e-9)
        assert curve.effect(curve.strength(-effect)) == pytest.approx(-effect, abs=1e-9)
    assert curve.strength(1.0) == pytest.approx(1.0)
    assert curve.strength(0.0) == 0.0


def test_an_effect_beyond_all_takes_the_strength_where_it_levels_off(curve):
    assert curve.strength(3.0) == 1.25
    assert curve.strength(-3.0) == -1.25
    assert curve.effect(9.0) == pytest.approx(1.05)


def test_a_straight_response_leaves_strengths_as_they_are():
    straight = fitted(STRENGTHS, [3.0 + 2.0 * x for x in STRENGTHS])
    for effect in (0.1, 0.5, 1.3):
        assert straight.strength(effect) == pytest.approx(effect)


def test_noise_is_pooled_into_a_curve_that_never_falls():
    noisy = fitted(STRENGTHS, [0.1, 0.05, 0.4, 0.3, 0.9, 1.0, 0.8], measure="judge")
    assert list(noisy.effects) == sorted(noisy.effects)
    assert noisy.effects[0] == 0.0
    assert noisy.effect(1.0) == pytest.approx(1.0)
    assert noisy.measure == "judge"
    assert noisy.effects[2] == pytest.approx(noisy.effects[3])  # .4 and .3 became .35 each


def test_what_does_nothing_has_no_curve():
    assert fitted(STRENGTHS, [0.5] * 7) is None
    assert fitted(STRENGTHS, [0.5 - x for x in STRENGTHS]) is None


def test_it_survives_json(curve):
    assert ResponseCurve.from_json(curve.to_json()) == curve


def test_a_broken_file_is_refused(subtests):
    cases = [
        "",
        "[]",
        "{}",
        '{"strengths": [0, 1], "effects": "high"}',
        '{"strengths": [0, 1], "effects": [0, "x"]}',
        '{"strengths": [0, 0.5], "effects": [0, 1]}',
        '{"strengths": [0, 1, 1], "effects": [0, 1, 2]}',
        '{"strengths": [0, 0.5, 1], "effects": [0, 1, 0.5]}',
        '{"strengths": [0, 1], "effects": [0, NaN]}',
        '{"strengths": [0, 1], "effects": [0, 1e999]}',
        "[" * 5000,
    ]
    for text in cases:
        with subtests.test(text=text), pytest.raises(AdapterFileError, match="loom calibrate"):
            ResponseCurve.from_json(text)


def test_two_points_are_a_straight_line():
    line = ResponseCurve((0.0, 1.0), (0.0, 1.0))
    assert line.effect(0.25) == pytest.approx(0.25)
    assert math.isclose(line.strength(0.75), 0.75)
