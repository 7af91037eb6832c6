"""The core space holds every update exactly, and depends on the updates alone."""

import pytest
import torch

from lora_loom.pipelines.weight_space.core_space import core_space
from lora_loom.pipelines.weight_space.stack import Weighted


@pytest.mark.parametrize("inputs", [(20,), (5, 3, 3)])
def test_every_update_is_in_it(update, dense, close, inputs):
    updates = [Weighted(0.8, update(0, 4, inputs=inputs)), Weighted(-0.5, update(1, 6, inputs=inputs))]
    space = core_space(updates)
    for core, (weight, factors) in zip(space.cores, updates, strict=True):
        assert close(space.q_out @ core @ space.q_in.T, weight * dense(factors))
    assert close(dense(space.factors(sum(space.cores))), sum(weight * dense(factors) for weight, factors in updates))


def test_neither_gauge_nor_order_moves_its_entries(update, regauged, close):
    first, second = update(0, 4), update(1, 6)
    space = core_space([Weighted(1.0, first), Weighted(0.5, second)])
    other = core_space([Weighted(0.5, regauged(second)), Weighted(1.0, regauged(first))])
    assert close(other.cores[1].abs(), space.cores[0].abs(), 1e-4)
    assert close(other.cores[0].abs(), space.cores[1].abs(), 1e-4)


def test_twins_need_no_more_room_than_one(update):
    factors = update(0, 4)
    space = core_space([Weighted(1.0, factors), Weighted(1.0, factors)])
    assert space.cores[0].shape == (4, 4)
    assert torch.allclose(space.cores[0], space.cores[1])
