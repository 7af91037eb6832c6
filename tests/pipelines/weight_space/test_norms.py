"""Inner products and distances equal the dense ones; consistent scales conserve every adapter's strength."""

import math

import pytest

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.norms import consistent_scales, distance, inner, norm

NORMS = {"fox": {"a": 1.0, "b": 8.0, "c": 2.0}, "ink": {"a": 4.0, "b": 2.0}}


@pytest.mark.parametrize("inputs", [(20,), (5, 3, 3)])
def test_inner_products_are_the_dense_ones(update, dense, inputs):
    first, second = update(0, 4, inputs=inputs), update(1, 7, inputs=inputs)
    expected = float((dense(first) * dense(second)).sum())
    assert inner(first, second) == pytest.approx(expected, rel=1e-9)
    assert norm(first) == pytest.approx(float(dense(first).norm()), rel=1e-9)
    assert distance(first, second) == pytest.approx(float((dense(first) - dense(second)).norm()), rel=1e-9)


def test_the_distance_of_near_equals_is_not_lost_in_rounding(update, dense):
    factors = update(0)
    near = LoraFactors(factors.down, factors.up * (1 + 1e-5))
    assert distance(factors, near) == pytest.approx(1e-5 * norm(factors), rel=0.1)
    assert distance(factors, factors) <= 1e-12 * norm(factors)


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_consistent_scales_conserve_strength(strength):
    scales = consistent_scales(NORMS, strength)
    for name, layers in NORMS.items():
        after = sum((scales[name][layer] * value) ** 2 for layer, value in layers.items())
        assert after == pytest.approx(sum(value**2 for value in layers.values()))


def test_full_consistency_gives_shared_layers_one_profile():
    scales = consistent_scales(NORMS, 1.0)
    after = {name: {layer: scales[name][layer] * value for layer, value in of.items()} for name, of in NORMS.items()}
    assert after["fox"]["a"] / after["fox"]["b"] == pytest.approx(after["ink"]["a"] / after["ink"]["b"])
    assert after["fox"]["a"] / after["fox"]["b"] == pytest.approx(math.sqrt(1 * 4) / math.sqrt(8 * 2))


def test_no_consistency_and_one_adapter_scale_nothing():
    assert consistent_scales(NORMS, 0.0) == {name: dict.fromkeys(of, 1.0) for name, of in NORMS.items()}
    alone = consistent_scales({"fox": NORMS["fox"]}, 1.0)
    assert alone["fox"] == pytest.approx(dict.fromkeys(NORMS["fox"], 1.0))


def test_scales_are_bounded_before_strength_is_restored():
    far = {"fox": {"a": 1e-6, "b": 1.0}, "ink": {"a": 1.0, "b": 1.0}}
    scales = consistent_scales(far, 1.0)
    assert scales["fox"]["a"] / scales["fox"]["b"] == pytest.approx(4.0)
