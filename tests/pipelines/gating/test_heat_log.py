"""The log of gates: means over tokens, samples and calls in which an adapter was open."""

import torch

from lora_loom.pipelines.gating.heat_log import HeatLog


def test_means_of_the_samples_in_which_an_adapter_was_open():
    log = HeatLog()
    gates = torch.tensor([[[0.5, 1.0], [1.5, 1.0]], [[0.1, 0.2], [0.1, 0.2]]])  # [b t N]
    log.note("b", 7, ("fox", "ink"), 0, 0.0, gates, torch.tensor([[1.0, 1.0], [0.0, 0.5]]))
    log.note("a", 2, ("ink",), 1, 0.5, torch.full((1, 3, 1), 1.25), torch.tensor([[-1.0]]))
    found = log.map("loud", ("fox", "ink"))
    assert found.layers == ("a", "b")  # in the order of the model
    assert found.progress == (0.0, 0.5)
    assert found.values[0] == ((None, None), (None, 1.25))
    fox, ink = found.values[1][0]
    assert fox == 1.0
    assert abs(ink - 0.6) < 1e-6
    assert found.values[1][1] == (None, None)


def test_nothing_noted_is_a_map_without_layers():
    assert HeatLog().map("", ("fox",), trained=False).layers == ()
