"""A stack is the live sum, and recompressing it loses exactly what a dense SVD would."""

import pytest
import torch

from lora_loom.pipelines.weight_space.recompress import recompress
from lora_loom.pipelines.weight_space.stack import Weighted, stack

SETS = [
    pytest.param([(0.8, 4), (0.5, 6), (-1.2, 3)], (20,), id="linear"),
    pytest.param([(0.8, 4), (0.5, 6), (-1.2, 3)], (5, 3, 3), id="conv 3x3"),
    pytest.param([(1.0, 1), (0.7, 19)], (6, 1, 1), id="conv 1x1, ranks far apart"),
    pytest.param([(1.0, 4)] * 12, (20,), id="twelve, more ranks than inputs"),
    pytest.param([(1.0, 4)], (20,), id="one"),
]


@pytest.fixture
def weighted(update):
    def make(members, inputs):
        return [Weighted(weight, update(seed, rank, inputs=inputs)) for seed, (weight, rank) in enumerate(members)]

    return make


@pytest.mark.parametrize(("members", "inputs"), SETS)
def test_a_stack_is_the_live_sum(weighted, dense, close, members, inputs):
    updates = weighted(members, inputs)
    live = sum(weight * dense(factors) for weight, factors in updates)
    made = stack(updates)
    assert made.rank == sum(rank for _, rank in members)
    assert made.down.shape[1:] == inputs
    assert close(dense(made), live, 1e-6)


@pytest.mark.parametrize("rank", [1, 3, 7, 40])
@pytest.mark.parametrize(("members", "inputs"), SETS)
def test_recompressing_loses_what_a_dense_svd_would(weighted, dense, members, inputs, rank):
    whole = stack(weighted(members, inputs))
    singular = torch.linalg.svdvals(dense(whole))
    optimum = float(singular[rank:].norm() / singular.norm())
    made = recompress(whole, rank)
    assert made.factors.rank <= rank
    assert made.error == pytest.approx(optimum, abs=1e-5)
    assert float((dense(made.factors) - dense(whole)).norm() / singular.norm()) == pytest.approx(optimum, abs=1e-5)


def test_a_rank_below_one_is_refused(update):
    with pytest.raises(ValueError, match="rank of 0"):
        recompress(update(0), 0)
