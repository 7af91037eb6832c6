"""The canonical form is the thin SVD of the dense update, whatever factors it came from."""

import pytest
import torch

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.canonical import balanced, canonical, orthonormal_down

SHAPES = [((20,), 4), ((5, 3, 3), 4), ((6, 1, 1), 6), ((20,), 30)]  # the last has more ranks than outputs or inputs


def test_it_is_the_svd_of_the_dense_update(update, dense, close, subtests):
    for inputs, rank in SHAPES:
        with subtests.test(inputs=inputs, rank=rank):
            factors = update(0, rank, inputs=inputs)
            form = canonical(factors)
            expected = torch.linalg.svdvals(dense(factors))
            assert close(form.s, expected[: form.rank])
            assert expected[form.rank :].norm() <= 1e-6 * expected[0]
            assert close(form.u * form.s @ form.v.T, dense(factors))
            for side in (form.u, form.v):
                assert close(side.T @ side, torch.eye(form.rank, dtype=torch.float64), 1e-10)


def test_factors_of_the_form_are_the_same_update(update, dense, close, subtests):
    for to_factors in [balanced, orthonormal_down]:
        for inputs in [(20,), (5, 3, 3)]:
            with subtests.test(to_factors=to_factors, inputs=inputs):
                factors = update(1, inputs=inputs)
                made = to_factors(canonical(factors))
                assert made.down.shape == factors.down.shape
                assert made.up.dtype == made.down.dtype == torch.float32
                assert close(dense(made), dense(factors))


def test_the_form_does_not_depend_on_the_training_gauge(update, regauged, close):
    factors = update(2)
    form, other = canonical(factors), canonical(regauged(factors))
    assert close(other.s, form.s)
    assert close((other.u.T @ form.u).abs(), torch.eye(4, dtype=torch.float64), 1e-5)


def test_balanced_factors_have_equal_norms_and_orthonormal_down_has_orthonormal_rows(update, close):
    form = canonical(update(3))
    even = balanced(form)
    assert even.up.norm() == pytest.approx(float(even.down.norm()), rel=1e-5)
    rows = orthonormal_down(form).down
    assert close(rows @ rows.T, torch.eye(4), 1e-5)


def test_an_update_of_zeros_stays_one(update):
    factors = update(4)
    zero = LoraFactors(factors.down, torch.zeros_like(factors.up))
    form = canonical(zero)
    assert (form.rank, form.norm) == (0, 0.0)
    assert balanced(form).rank == 1
    assert not balanced(form).delta().any()
