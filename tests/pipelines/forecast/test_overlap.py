"""Closed forms on factors against the same from dense matrices, and what they are for random, equal and apart ones."""

import math

import pytest
import torch

from lora_loom.pipelines.forecast.crowding import crowding
from lora_loom.pipelines.forecast.overlap import Sums, overlaps, shared_coordinates
from lora_loom.pipelines.forecast.signals import signals
from lora_loom.pipelines.weight_space.canonical import canonical


def sums_of(updates, weights, shape=None):
    forms = [canonical(each) for each in updates]
    m, n = updates[0].up.shape[0], updates[0].down.flatten(1).shape[1]
    return overlaps(shared_coordinates(forms, weights), range(len(forms)), len(forms), shape or (m, n))


def dense_signals(first, second, w_a, w_b):
    """The same from dense matrices and projectors."""
    a, b = (w * each.delta().flatten(1).double() for w, each in ((w_a, first), (w_b, second)))

    def projectors(matrix):
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        k = int((s > 1e-6 * s[0]).sum())
        return u[:, :k] @ u[:, :k].T, vh[:k].T @ vh[:k]

    (out_a, in_a), (out_b, in_b) = projectors(a), projectors(b)
    return {
        "cosine": (a * b).sum() / a.norm() / b.norm(),
        "out_ab": (out_b @ a).norm() ** 2 / a.norm() ** 2,
        "out_ba": (out_a @ b).norm() ** 2 / b.norm() ** 2,
        "in_ab": (a @ in_b).norm() ** 2 / a.norm() ** 2,
        "in_ba": (b @ in_a).norm() ** 2 / b.norm() ** 2,
        "both_ab": (out_b @ a @ in_b).norm() ** 2 / a.norm() ** 2,
        "both_ba": (out_a @ b @ in_a).norm() ** 2 / b.norm() ** 2,
        "log2_ratio": torch.log2(a.norm() / b.norm()),
        "energy_a": a.norm() ** 2,
        "energy_b": b.norm() ** 2,
    }


def test_signals_are_those_of_dense_matrices(factors, subtests):
    for shape in [(30, 20), (6, 40), (8, 5, 3, 3)]:
        for weights in [(1.0, 1.0), (0.7, -1.3)]:
            with subtests.test(shape=shape, weights=weights):
                first, second = factors(shape, 3, 1), factors(shape, 5, 2)
                found = signals(sums_of([first, second], weights), 0, 1)
                for name, expected in dense_signals(first, second, *weights).items():
                    assert getattr(found, name) == pytest.approx(float(expected), rel=1e-6, abs=1e-6), name


def test_a_pair_seen_from_the_other_side(factors):
    sums = sums_of([factors((30, 20), 3, 1), factors((30, 20), 5, 2)], (1.0, 0.5))
    there, back = signals(sums, 0, 1), signals(sums, 1, 0)
    assert there.cosine == pytest.approx(back.cosine)
    assert there.log2_ratio == pytest.approx(-back.log2_ratio)
    assert there.log2_spread == pytest.approx(back.log2_spread)
    assert (there.out_ab, there.in_ab, there.both_ab) == pytest.approx((back.out_ba, back.in_ba, back.both_ba))
    assert (there.energy_a, there.energy_b) == pytest.approx((back.energy_b, back.energy_a))


def test_twins_share_all_and_a_negative_strength_turns_the_sign(factors):
    one = factors((30, 20), 4, 1)
    found = signals(sums_of([one, one], (1.0, -2.0)), 0, 1)
    assert found.cosine == pytest.approx(-1.0)
    shares = (found.out_ab, found.out_ba, found.in_ab, found.in_ba, found.both_ab, found.both_ba)
    assert shares == pytest.approx([1.0] * 6)
    assert found.log2_ratio == pytest.approx(-1.0)


def test_updates_in_other_rows_and_columns_share_nothing(factors):
    first, second = factors((30, 20), 4, 1), factors((30, 20), 4, 2)
    first.up[15:], second.up[:15] = 0.0, 0.0
    found = signals(sums_of([first, second], (1.0, 1.0)), 0, 1)
    assert max(abs(found.cosine), found.out_ab, found.out_ba, found.both_ab) < 1e-12
    assert found.in_ab > 0.05


def test_random_updates_share_what_chance_says(factors):
    shape, seeds = (96, 80), 12
    updates = [factors(shape, 8, seed) for seed in range(seeds)]
    sums = sums_of(updates, [1.0] * seeds)
    found = [signals(sums, i, j) for i in range(seeds) for j in range(seeds) if i != j]
    mean = {name: sum(getattr(each, name) for each in found) / len(found) for name in ("out_ab", "in_ab", "both_ab")}
    assert found[0].out_chance_ab == pytest.approx(8 / 96)
    assert found[0].in_chance_ab == pytest.approx(8 / 80)
    assert mean["out_ab"] == pytest.approx(8 / 96, rel=0.1)
    assert mean["in_ab"] == pytest.approx(8 / 80, rel=0.1)
    assert mean["both_ab"] == pytest.approx(found[0].both_chance_ab, rel=0.3)
    deviation = math.sqrt(sum(each.cosine**2 for each in found) / len(found))
    assert deviation == pytest.approx(1 / math.sqrt(96 * 80), rel=0.35)
    assert found[0].cosine_noise == pytest.approx(1 / math.sqrt(96 * 80))


def test_sums_over_layers_are_energy_weighted(factors):
    layers = [((30, 20), 1.0), ((12, 40), 3.0)]
    total = Sums.zero(2)
    dots, energies, logs = 0.0, [0.0, 0.0], []
    for seed, (shape, scale) in enumerate(layers):
        pair = [factors(shape, 3, 10 + seed, scale), factors(shape, 4, 20 + seed)]
        a, b = (each.delta().double() for each in pair)
        dots += float((a * b).sum())
        energies = [energies[0] + float(a.norm() ** 2), energies[1] + float(b.norm() ** 2)]
        logs.append((float(a.norm() * b.norm()), float(torch.log2(a.norm() / b.norm()))))
        total += sums_of(pair, (1.0, 1.0))
    found = signals(total, 0, 1)
    assert found.layers == 2
    assert found.cosine == pytest.approx(dots / math.sqrt(energies[0] * energies[1]), abs=1e-7)
    assert found.log2_ratio == pytest.approx(0.5 * math.log2(energies[0] / energies[1]), abs=1e-6)
    weight = sum(w for w, _ in logs)
    mean = sum(w * x for w, x in logs) / weight
    spread = math.sqrt(sum(w * (x - mean) ** 2 for w, x in logs) / weight)
    assert found.log2_spread == pytest.approx(spread, abs=1e-6)


def test_a_layer_that_one_lacks_counts_in_its_energy_alone(factors):
    a, b = factors((30, 20), 3, 1), factors((30, 20), 3, 2)
    shared = sums_of([a, b], (1.0, 1.0))
    alone = overlaps(shared_coordinates([canonical(a)], [1.0]), [0], 2, (30, 20))
    found, before = signals(shared + alone, 0, 1), signals(shared, 0, 1)
    assert found.energy_a == pytest.approx(2 * before.energy_a)
    assert found.out_ab == pytest.approx(before.out_ab / 2)
    assert found.out_ba == pytest.approx(before.out_ba)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.5, -1.0, 2.0)])
def test_crowding_is_that_of_dense_matrices(factors, weights):
    updates = [factors((20, 16), rank, rank) for rank in (2, 3, 4)]
    forms = [canonical(each) for each in updates]
    found = crowding(shared_coordinates(forms, weights))
    u, v = torch.cat([form.u for form in forms], 1), torch.cat([form.v for form in forms], 1)
    s = torch.cat([form.s * abs(w) for form, w in zip(forms, weights, strict=True)])
    identity = torch.eye(9, dtype=torch.float64)
    signs = torch.cat([torch.full((form.rank,), math.copysign(1.0, w)) for form, w in zip(forms, weights, strict=True)])
    signed = u * signs
    tsv = ((signed.T @ signed - identity) @ torch.diag(s) @ (v.T @ v - identity)).abs().sum()
    assert found.interference == pytest.approx(float(tsv), rel=1e-6)
    dense = sum(w * each.delta().double() for w, each in zip(weights, updates, strict=True))
    values = torch.linalg.svdvals(dense)
    assert (found.rank, found.ranks) == (9, 9)
    assert found.energy == pytest.approx(float(values.square().sum()), rel=1e-6)
    assert found.lost[4] == pytest.approx(float(values[4:].square().sum()), rel=1e-5)
    assert found.lost[16] == 0.0


def test_twins_lose_half_of_the_capacity(factors):
    form = canonical(factors((20, 16), 4, 1))
    found = crowding(shared_coordinates([form, form], [1.0, 1.0]))
    assert (found.rank, found.ranks) == (4, 8)
