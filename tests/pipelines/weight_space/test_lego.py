"""LEGO: exact with a cluster for every unit, twins in one, and blind to gauge and order."""

import pytest
import torch

from lora_loom.pipelines.weight_space.lego import clusters, lego
from lora_loom.pipelines.weight_space.stack import Weighted


@pytest.fixture
def updates(update):
    return [Weighted(0.8, update(0, 4)), Weighted(0.5, update(1, 6)), Weighted(-1.2, update(2, 3))]


@pytest.mark.parametrize("inputs", [(20,), (5, 3, 3)])
def test_as_many_clusters_as_units_are_the_exact_sum(update, dense, close, inputs):
    updates = [Weighted(0.8, update(0, 4, inputs=inputs)), Weighted(-1.2, update(1, 6, inputs=inputs))]
    expected = sum(weight * dense(factors) for weight, factors in updates)
    for rank in (10, 64):
        made = lego(updates, rank)
        assert made.rank == 10
        assert close(dense(made), expected, 1e-5)


def test_twins_add_up_in_half_the_ranks(update, regauged, dense, close):
    factors = update(0, 4)
    made = lego([Weighted(1.0, factors), Weighted(1.0, regauged(factors))], 4)
    assert made.rank == 4
    assert close(dense(made), 2.0 * dense(factors), 1e-4)


def test_opposite_twins_cancel_at_the_full_rank(update):
    factors = update(0, 4)
    made = lego([Weighted(1.0, factors), Weighted(-1.0, factors)], 8)
    assert float(made.delta().norm()) < 1e-5 * float(factors.delta().norm())


def test_a_cluster_keeps_the_norm_of_what_its_units_make_together(update, dense):
    """One cluster of all units: a rank-one update as large as their sum."""
    updates = [Weighted(1.0, update(0, 2)), Weighted(1.0, update(1, 2))]
    together = sum(dense(factors) for _, factors in updates)
    made = dense(lego(updates, 1))
    assert torch.linalg.matrix_rank(made, rtol=1e-5) == 1
    assert float(made.norm()) == pytest.approx(float(together.norm()), rel=1e-4)


def test_neither_gauge_nor_order_matters(updates, regauged, dense, close):
    made = dense(lego(updates, 5))
    assert close(dense(lego(updates[::-1], 5)), made, 1e-4)
    assert close(dense(lego([Weighted(w, regauged(f)) for w, f in updates], 5)), made, 1e-3)


def test_units_of_either_sign_are_one_cluster():
    units = torch.tensor([[1.0, 0.1], [-1.0, 0.1], [0.0, 1.0], [0.05, -1.1]], dtype=torch.float64)
    owner, sign = clusters(units @ units.T, 2)
    assert owner[0] == owner[1] != owner[2] == owner[3]
    assert sign[0] == -sign[1]
    assert sign[2] == -sign[3]


def test_no_cluster_is_empty():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for k in (1, 7, 39, 40):
        owner, _ = clusters(points @ points.T, k)
        assert len(owner.unique()) == k
    same = torch.ones(5, 5, dtype=torch.float64)
    assert len(clusters(same, 3)[0].unique()) == 3


def test_opposite_twins_do_not_cancel_below_the_full_rank(update):
    """As the help says: (b, a) and (b, -a) are unlike units."""
    factors = update(0, 4)
    made = lego([Weighted(1.0, factors), Weighted(-1.0, factors)], 4)
    assert float(made.delta().norm()) > 0.1 * float(factors.delta().norm())
