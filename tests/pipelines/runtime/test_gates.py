"""One tensor holds every gate, and each layer looks into it."""

import torch
from torch import nn

from lora_loom.pipelines.runtime.gates import Stack
from lora_loom.pipelines.runtime.layers import LowRankLinear, PlacedFactors, Update


def factors(rank):
    return PlacedFactors(torch.zeros(rank, 4), torch.zeros(rank, 4))


def stack_of_two_layers():
    """Adapter a has rank 2 and 1, adapter b rank 3 on the second layer only."""
    first, second = LowRankLinear(nn.Linear(4, 4)), LowRankLinear(nn.Linear(4, 4))
    updates = {first: Update([factors(2)], (0,)), second: Update([factors(1), factors(3)], (0, 1))}
    return Stack(("a", "b"), updates, torch.device("cpu")), *updates.values()


def test_gates_reach_the_ranks_of_their_adapters():
    stack, first, second = stack_of_two_layers()
    stack.write([{"a": 0.5, "b": 2.0}])
    assert first.gate.tolist() == [[0.5, 0.5]]
    assert second.gate.tolist() == [[0.5, 2.0, 2.0, 2.0]]


def test_an_adapter_that_is_not_named_is_shut():
    stack, first, second = stack_of_two_layers()
    stack.write([{"b": 1.0, "stranger": 3.0}])
    assert first.gate.tolist() == [[0.0, 0.0]]
    assert second.gate.tolist() == [[0.0, 1.0, 1.0, 1.0]]


def test_one_gate_for_all_is_known_as_such():
    stack, first, second = stack_of_two_layers()
    for gates, scale in (
        ([{"a": 0.5, "b": 0.5}], 0.5),
        ([{"a": 0.5, "b": 0.6}], None),
        ([{"a": 0.5, "b": 0.5}] * 2, None),
    ):
        stack.write(gates)
        assert first.scale == second.scale == scale


def test_each_pass_has_a_row():
    stack, first, second = stack_of_two_layers()
    stack.write([{"a": 1.0}, {"b": 2.0}])
    assert first.gate.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert second.gate.tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, 2.0, 2.0, 2.0]]


def test_gates_are_written_in_place_so_that_compiled_graphs_stay_valid():
    stack, first, second = stack_of_two_layers()
    stack.write([{"a": 1.0}])
    where = first.gate.data_ptr(), second.gate.data_ptr()
    assert first.gate.untyped_storage().data_ptr() == second.gate.untyped_storage().data_ptr()  # one tensor
    stack.write([{"a": 1.0}, {"b": 1.0}])
    stack.write([{"a": 3.0}])
    assert (first.gate.data_ptr(), second.gate.data_ptr()) == where
    assert first.gate.tolist() == [[3.0, 3.0]]


def test_writing_what_stands_already_does_nothing():
    stack, first, _ = stack_of_two_layers()
    stack.write([{"a": 1.0}])
    assert first.stale
    first.stale = False
    stack.write([{"a": 1.0}])
    assert not first.stale
    stack.write([{"a": 0.9}])
    assert first.stale
