"""Outputs turned apart: orthogonal for every input, spectra kept, as close to the originals as can be."""

import itertools
from dataclasses import replace

import pytest
import torch

from lora_loom.pipelines.weight_space.canonical import canonical
from lora_loom.pipelines.weight_space.orthogonalise import orthogonal_outputs, polar

WEIGHTS, EVEN = (0.8, 0.5, -1.2), (1.0, 1.0, 1.0)


def matrix(form):
    return form.u * form.s @ form.v.T


@pytest.fixture
def three(update):
    """Three updates of different ranks that share output directions."""
    first = update(0, 4, out=32)
    return [canonical(each) for each in (first, update(1, 6, out=32, shared=first), update(2, 3, out=32, shared=first))]


def overlap(forms):
    return max(float((a.u.T @ b.u).abs().max()) for a, b in itertools.combinations(forms, 2))


@pytest.mark.parametrize("inputs", [(20,), (5, 3, 3)])
def test_features_are_orthogonal_for_every_input(update, inputs):
    first = update(0, 4, inputs=inputs)
    forms = [canonical(each) for each in (first, update(1, 6, inputs=inputs, shared=first))]
    x = torch.randn(100, forms[0].v.shape[0], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before, after = forms, orthogonal_outputs(forms, WEIGHTS[:2], EVEN[:2], 1.0)
    cosines = [torch.cosine_similarity(x @ matrix(a).T, x @ matrix(b).T) for a, b in (before, after)]
    assert cosines[0].abs().mean() > 0.1
    assert cosines[1].abs().max() < 1e-12


def test_singular_values_and_inputs_stay(three):
    for beta in (0.3, 1.0):
        for form, moved in zip(three, orthogonal_outputs(three, WEIGHTS, EVEN, beta), strict=True):
            assert torch.equal(moved.s, form.s)
            assert torch.equal(moved.v, form.v)
            assert torch.allclose(moved.u.T @ moved.u, torch.eye(form.rank, dtype=torch.float64), atol=1e-10)


def test_energies_add_up(three):
    moved = orthogonal_outputs(three, WEIGHTS, EVEN, 1.0)
    together = sum(weight * matrix(form) for weight, form in zip(WEIGHTS, moved, strict=True))
    parts = sum((weight * form.norm) ** 2 for weight, form in zip(WEIGHTS, three, strict=True))
    assert float(together.norm() ** 2) == pytest.approx(parts)


def test_no_closer_set_of_orthogonal_outputs_is_found(three):
    """U' maximises sum_i p_i w_i^2 <S_i^2, U_i^T U'_i>: every small rotation of it is worse."""
    moved = orthogonal_outputs(three, WEIGHTS, EVEN, 1.0)

    def agreement(forms):
        each = zip(WEIGHTS, three, forms, strict=True)
        return sum(weight**2 * float((old.s**2 * (old.u * new.u).sum(0)).sum()) for weight, old, new in each)

    best = agreement(moved)
    size = three[0].u.shape[0]
    for seed in range(20):
        skew = torch.randn(size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 0.05
        rotation = torch.linalg.matrix_exp(skew - skew.T)
        assert agreement([replace(form, u=rotation @ form.u) for form in moved]) < best


def test_a_share_of_the_way_lessens_the_overlap_step_by_step(three):
    overlaps = [overlap(orthogonal_outputs(three, WEIGHTS, EVEN, beta)) for beta in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert overlaps == sorted(overlaps, reverse=True)
    assert overlaps[0] > 0.3
    assert overlaps[-1] < 1e-12
    assert orthogonal_outputs(three, WEIGHTS, EVEN, 0.0) == three


def test_a_priority_protects(three):
    def kept(priorities):
        moved = orthogonal_outputs(three, WEIGHTS, priorities, 1.0)
        return [float((matrix(a) * matrix(b)).sum() / a.norm**2) for a, b in zip(three, moved, strict=True)]

    even, first = kept(EVEN), kept((1e6, 1.0, 1.0))
    assert first[0] > 0.9999
    assert even[0] < 0.99
    assert first[1] < even[1]


def test_the_order_of_adapters_changes_nothing(three):
    order = (2, 0, 1)
    moved = orthogonal_outputs(three, WEIGHTS, EVEN, 0.7)
    swapped = orthogonal_outputs([three[i] for i in order], [WEIGHTS[i] for i in order], EVEN, 0.7)
    for place, i in enumerate(order):
        assert torch.allclose(matrix(swapped[place]), matrix(moved[i]), atol=1e-9)


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_of_twins_one_is_left(update, beta):
    twin = canonical(update(0))
    moved = orthogonal_outputs([twin, twin], (1.0, 1.0), EVEN[:2], beta)
    together = matrix(moved[0]) + matrix(moved[1])
    assert torch.allclose(together, (2.0 - beta) * matrix(twin), atol=1e-6)


def test_more_directions_than_outputs_lose_what_they_share_in_both_spaces(update):
    forms = [canonical(update(seed, 4, out=6, inputs=(9,))) for seed in range(3)]
    moved = orthogonal_outputs(forms, (1.0, 0.5, 0.2), EVEN, 1.0)
    assert moved[0] is forms[0]
    strongest, second = forms[0], moved[1]
    left = strongest.u.T @ matrix(second) @ strongest.v
    assert left.abs().max() < 1e-9
    inner = (matrix(strongest) * matrix(second)).sum()
    assert inner.abs() < 1e-9


def test_strengths_far_apart_leave_every_block_orthonormal(three):
    for form in orthogonal_outputs(three, (1.0, 1e-4, 1e-8), EVEN, 1.0):
        assert torch.allclose(form.u.T @ form.u, torch.eye(form.rank, dtype=torch.float64), atol=1e-10)


def test_zeros_beside_an_update_change_nothing(update):
    form = canonical(update(0))
    moved = orthogonal_outputs([form, form.cut(0)], (1.0, 1.0), EVEN[:2], 1.0)
    assert torch.allclose(matrix(moved[0]), matrix(form))
    assert orthogonal_outputs([form.cut(0), form.cut(0)], (1.0, 1.0), EVEN[:2], 1.0)[0].rank == 0


def test_the_polar_factor_is_the_closest_orthonormal_matrix():
    q = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).Q
    assert torch.allclose(polar(q * 3.0), q)
