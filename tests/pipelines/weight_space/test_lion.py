"""LiON on adapters: orthogonal features, conserved strengths, a bounded norm of the sum, components apart."""

import itertools
import math

import pytest
import torch

from pipelines.weight_space.lion import turned_apart
from pipelines.weight_space.norms import inner, norm

STRENGTHS, EVEN = {"fox": 0.8, "ink": 0.5, "fog": -1.2}, {"fox": 1.0, "ink": 1.0, "fog": 1.0}


@pytest.fixture
def three(update, adapter):
    """Three adapters of different sizes and layers; `wide` is shared by all, `few` has few outputs."""
    first = update(0, 4, out=40)
    return {
        "fox": adapter("fox", {"wide": first, "few": update(1, 4, out=6), "encoder.q": update(2, 2)}),
        "ink": adapter(
            "ink", {"wide": update(3, 6, out=40, shared=first, size=3.0), "few": update(4, 4, out=6), "ink": update(5)}
        ),
        "fog": adapter("fog", {"wide": update(6, 3, out=40, shared=first), "encoder.q": update(7, 3, size=0.1)}),
    }


def fused(three, beta=1.0, consistency=0.0, strengths=STRENGTHS, priorities=EVEN):
    return turned_apart(three, strengths, priorities, beta, consistency, {"method": "lion"})


def test_outputs_of_a_layer_are_orthogonal(three):
    made = fused(three)
    for (_, a), (_, b) in itertools.combinations(made.items(), 2):
        first, second = a.denoiser["wide"], b.denoiser["wide"]
        assert (first.up.T @ second.up).abs().max() < 1e-4 * first.up.norm() * second.up.norm()
    assert {name: set(each.denoiser) for name, each in made.items()} == {
        name: set(each.denoiser) for name, each in three.items()
    }


@pytest.mark.parametrize("consistency", [0.5, 1.0])
def test_levelled_norms_conserve_each_adapter_in_each_component(three, consistency):
    """With nothing turned, and one strength too faint for the guard to act, only the scales do."""
    pair = {name: three[name] for name in ("fox", "ink")}
    made = fused(pair, 0.0, consistency, {"fox": 1.0, "ink": 0.01})
    for name in pair:
        before = {path: norm(factors) for path, factors in pair[name].denoiser.items()}
        after = {path: norm(factors) for path, factors in made[name].denoiser.items()}
        assert math.hypot(*after.values()) == pytest.approx(math.hypot(*before.values()), rel=1e-5)
        assert after["wide"] / before["wide"] != pytest.approx(1.0, abs=1e-3)
    only_one_has_it = pair["fox"].text_encoders["text_encoder"]["encoder.q"]
    assert made["fox"].text_encoders["text_encoder"]["encoder.q"] is only_one_has_it


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("consistency", [0.0, 1.0])
def test_the_sum_is_no_larger_than_orthogonal_parts_can_be(three, beta, consistency):
    made = fused(three, beta, consistency)
    for path in ("wide", "few"):
        parts = {name: each.denoiser[path] for name, each in made.items() if path in each.denoiser}
        energy = sum(
            STRENGTHS[a] * STRENGTHS[b] * inner(parts[a], parts[b]) for a, b in itertools.product(parts, repeat=2)
        )
        largest = max(abs(STRENGTHS[name]) * norm(part) for name, part in parts.items())
        assert math.sqrt(energy) <= math.sqrt(len(parts)) * largest * 1.001


def test_the_guard_holds_back_twins(update, adapter):
    factors = update(0)
    twins = {name: adapter(name, {"a": factors}) for name in ("fox", "copy")}
    made = turned_apart(twins, {"fox": 1.0, "copy": 1.0}, {"fox": 1.0, "copy": 1.0}, 0.0, 0.0, {})
    together = made["fox"].denoiser["a"].delta() + made["copy"].denoiser["a"].delta()
    assert float(together.norm()) == pytest.approx(math.sqrt(2) * norm(factors), rel=1e-5)


def test_what_needs_no_change_is_not_changed(three):
    alone = fused({"fox": three["fox"]}, strengths={"fox": 0.8})
    assert all(alone["fox"].denoiser[path] is factors for path, factors in three["fox"].denoiser.items())
    made = fused(three)
    assert made["ink"].denoiser["ink"] is three["ink"].denoiser["ink"]


def test_a_text_encoder_never_moves_the_denoiser(three, adapter, update):
    other = dict(three["fog"].denoiser) | {"encoder.q": update(7, 3, size=50.0)}
    louder = {**three, "fog": adapter("fog", other)}
    quiet, loud = fused(three, consistency=1.0), fused(louder, consistency=1.0)
    for name in three:
        for path, factors in quiet[name].denoiser.items():
            assert torch.equal(loud[name].denoiser[path].up, factors.up)


def test_ranks_one_and_two_hundred_and_fifty_six(update, adapter):
    two = {"thin": adapter("thin", {"a": update(0, 1, out=300, inputs=(280,))})}
    two["thick"] = adapter("thick", {"a": update(1, 256, out=300, inputs=(280,))})
    made = turned_apart(two, {"thin": 1.0, "thick": 1.0}, {"thin": 1.0, "thick": 1.0}, 1.0, 0.0, {})
    assert abs(inner(made["thin"].denoiser["a"], made["thick"].denoiser["a"])) < 1e-4 * norm(two["thin"].denoiser["a"])
