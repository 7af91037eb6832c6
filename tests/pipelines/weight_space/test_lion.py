"""LiON on adapters: orthogonal features, conserved strengths, a bounded norm of the sum, components apart."""

import itertools
import math

import pytest
import torch

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.lion import turned_apart
from lora_loom.pipelines.weight_space.norms import inner, norm

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


def test_the_sum_is_about_as_large_as_its_largest_part(three, subtests):
    """Within [0.8, 1.5] for two adapters, and at most sqrt(N) where they are orthogonal."""
    for consistency in [0.0, 1.0]:
        for beta in [0.5, 1.0]:
            with subtests.test(consistency=consistency, beta=beta):
                pair = {name: three[name] for name in ("fox", "fog")}
                made = fused(pair, beta, consistency)
                parts = {name: each.denoiser["wide"] for name, each in made.items()}
                energy = sum(
                    STRENGTHS[a] * STRENGTHS[b] * inner(parts[a], parts[b])
                    for a, b in itertools.product(parts, repeat=2)
                )
                largest = max(abs(STRENGTHS[name]) * norm(part) for name, part in parts.items())
                assert 0.8 * largest <= math.sqrt(energy) <= (1.5 if beta < 1.0 else math.sqrt(2.001)) * largest


def test_neutral_settings_are_the_plain_sum(three):
    made = fused(three, 0.0, 0.0)
    for name, each in three.items():
        assert all(made[name].denoiser[path] is factors for path, factors in each.denoiser.items())


def test_the_guard_holds_back_near_twins(update, adapter, subtests):
    for beta in [0.0, 0.3, 1.0]:
        with subtests.test(beta=beta):
            factors = update(0)
            near = LoraFactors(factors.down, factors.up + 0.05 * update(1).up)
            twins = {"fox": adapter("fox", {"a": factors}), "copy": adapter("copy", {"a": near})}
            made = turned_apart(twins, dict.fromkeys(twins, 1.0), dict.fromkeys(twins, 1.0), beta, 0.0, {})
            together = made["fox"].denoiser["a"].delta() + made["copy"].denoiser["a"].delta()
            size = float(together.norm()) / norm(factors)
            assert size == pytest.approx(2.0, rel=0.05) if beta == 0.0 else size < 1.98
            assert beta < 1.0 or size == pytest.approx(math.sqrt(2), rel=0.05)


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
