"""What a gate takes from an adapter at one token it gives back at others, up to a limit."""

import torch

from lora_loom.pipelines.gating.conservation import MAX_GAIN, given_back


def test_the_energy_of_every_picture_and_adapter_stays():
    generator = torch.Generator().manual_seed(0)
    energy = torch.rand(3, 20, 2, generator=generator)
    gates = 0.3 + torch.rand(3, 20, 2, generator=generator)
    factor = given_back(energy, gates.square() * energy)
    assert factor.shape == (3, 1, 2)
    torch.testing.assert_close(((gates * factor).square() * energy).sum(1), energy.sum(1))


def test_gates_of_1_are_left_exactly_alone_and_shut_ones_stay_shut():
    energy = torch.rand(2, 20, 3)
    assert (given_back(energy, energy) == 1).all()
    assert (given_back(energy, energy * 1e-6) == MAX_GAIN).all()
    assert torch.isfinite(given_back(energy * 0, energy * 0)).all()
