"""Arbitration gives places to those who say most there relative to their own average, and gives back what it takes."""

import pytest
import torch

from lora_loom.pipelines.predictions.arbitration import Arbitration, flatness

SIDE = 8


def arbitration(**changes):
    defaults = {"sharpness": 3.0, "smoothing": 1, "gain": 0.0, "max_gain": 2.5, "flat_from": 1.0}
    return Arbitration(**(defaults | changes))


def left_and_right(weak=0.1):
    e = torch.full((2, 1, SIDE, SIDE), weak)
    e[0, ..., : SIDE // 2] = e[1, ..., SIDE // 2 :] = 1.0
    return e


def test_weights_are_shares_of_each_place():
    w = arbitration().weights(torch.rand(3, 2, SIDE, SIDE))
    assert torch.allclose(w.sum(dim=0), torch.ones(2, SIDE, SIDE))
    assert w.min() >= 0


def test_weights_are_powers_of_the_relative_energy():
    e = left_and_right(weak=0.5)
    m = e / e.mean(dim=(-2, -1), keepdim=True)
    assert torch.allclose(arbitration().weights(e), m**3 / (m**3).sum(dim=0))


def test_a_loud_adapter_wins_no_more_places_than_a_quiet_one():
    e = left_and_right()
    loud = e * torch.tensor([1.0, 100.0]).view(2, 1, 1, 1)
    assert torch.allclose(arbitration().weights(e), arbitration().weights(loud), atol=1e-5)


def test_one_alone_speaks_as_it_is():
    assert torch.equal(arbitration().speaking(torch.rand(1, 2, SIDE, SIDE)), torch.ones(1, 2, SIDE, SIDE))


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_the_gain_gives_back_what_arbitration_took(gain):
    e = left_and_right(weak=0.5)
    kept = (arbitration(gain=gain, smoothing=3).speaking(e) * e).sum(dim=(-2, -1)) / e.sum(dim=(-2, -1))
    assert torch.allclose(kept, torch.ones_like(kept)) == (gain == 0.0)


def test_no_more_is_given_back_than_allowed():
    everywhere = torch.ones(5, 1, SIDE, SIDE)
    assert arbitration().speaking(everywhere).max() == pytest.approx(2.5 / 5)
    assert arbitration(max_gain=10.0).speaking(everywhere).max() == pytest.approx(1.0)


def test_one_with_a_flat_map_speaks_everywhere_and_takes_no_place():
    style = 1.0 + 0.05 * torch.rand(1, 1, SIDE, SIDE)
    w = arbitration(flat_from=0.8).weights(torch.cat([left_and_right(), style]))
    assert w[2].min() > 0.95
    assert torch.allclose(w[:2], arbitration().weights(left_and_right()), atol=1e-3)
    competing = arbitration(flat_from=1.0).weights(torch.cat([left_and_right(), style]))
    assert competing[2].max() < 0.5


def test_flatness_is_one_for_a_constant_and_the_share_of_a_spot():
    assert flatness(torch.full((1, 1, SIDE, SIDE), 3.0)).item() == pytest.approx(1.0)
    spot = torch.zeros(1, 1, SIDE, SIDE)
    spot[..., :2, :2] = 7.0
    assert flatness(spot).item() == pytest.approx(4 / SIDE**2)


@pytest.mark.parametrize("sharpness", [0.0, 20.0])
def test_silence_and_sharp_spots_stay_finite(sharpness):
    e = torch.zeros(3, 1, SIDE, SIDE)
    e[1, ..., 0, 0] = 1e-30
    e[2, ..., 0, 0] = 1e6
    assert torch.isfinite(arbitration(sharpness=sharpness).speaking(e)).all()


def _maps():
    maps = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(5)) ** 4
    maps[2, :, :3] += 20.0  # whose own place it is
    return maps


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 3.0])
def test_one_at_no_strength_takes_no_place_from_the_others(sharpness):
    arbitration = Arbitration(sharpness, 1, 0.0, 2.5, 1.0)
    maps, strengths = _maps(), torch.tensor([1.0, 1.0, 1e-6]).view(3, 1, 1, 1)
    found = arbitration.weights(maps * strengths**2, strengths)
    assert torch.allclose(found[:2], arbitration.weights(maps[:2]), atol=1e-3)


def test_a_rival_takes_more_the_stronger_it_is():
    arbitration, maps = Arbitration(3.0, 1, 0.0, 2.5, 1.0), _maps()
    shares = []
    for strength in (0.01, 0.1, 0.3, 0.6, 1.0):
        strengths = torch.tensor([1.0, 1.0, strength]).view(3, 1, 1, 1)
        shares.append(float(arbitration.weights(maps * strengths**2, strengths)[2].mean()))
    assert shares == sorted(shares)
    assert shares[0] < 0.06 < 0.3 < shares[-1]


def test_strengths_of_one_change_nothing():
    arbitration, maps = Arbitration(3.0, 3, 0.0, 2.5, 0.8), _maps()
    assert torch.equal(arbitration.speaking(maps, torch.ones(3, 1, 1, 1)), arbitration.speaking(maps))
