"""Arbiter lets each adapter rule the places where it has most to say relative to its own average."""

import pytest
import torch

from pipelines.methods.arbiter import Arbiter
from pipelines.plan import Predictions

SIDE = 8


def eps_of(*maps):
    """Base and predictions [1 + n, 1, 2, h, w] whose contributions have these amplitudes at each place."""
    base = torch.randn(1, 1, 2, *maps[0].shape, generator=torch.Generator().manual_seed(0))
    directions = torch.nn.functional.normalize(torch.randn(len(maps), 2, generator=torch.Generator().manual_seed(1)))
    return torch.cat([base, *(base + d.view(1, 1, 2, 1, 1) * m for d, m in zip(directions, maps, strict=True))])


def combined(method, eps, **more):
    return method._combine(Predictions(eps, torch.ones(len(eps)), passes=(), state=None, **more))


def left_and_right(strong=1.0, weak=0.1):
    left, right = torch.full((SIDE, SIDE), weak), torch.full((SIDE, SIDE), weak)
    left[:, : SIDE // 2] = right[:, SIDE // 2 :] = strong
    return left, right


def test_each_rules_its_own_place():
    left, right = left_and_right()
    eps = eps_of(left, right)
    found = combined(Arbiter(sharpness=20.0, smoothing=1, gain=1.0), eps)
    assert torch.allclose(found[..., : SIDE // 2], eps[1][..., : SIDE // 2], atol=1e-5)
    assert torch.allclose(found[..., SIDE // 2 :], eps[2][..., SIDE // 2 :], atol=1e-5)


def test_a_loud_adapter_wins_no_more_places_than_a_quiet_one():
    left, right = left_and_right()
    method = Arbiter(smoothing=1)
    quiet = method.weights(torch.stack([left, right])[:, None].square())
    loud = method.weights(torch.stack([left, 10 * right])[:, None].square())
    assert torch.allclose(quiet, loud, atol=1e-5)


def test_zero_sharpness_shares_every_place():
    eps = eps_of(*left_and_right())
    deltas = eps[1:] - eps[0]
    assert torch.allclose(combined(Arbiter(sharpness=0.0, gain=1.0), eps), eps[0] + deltas.mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("gain", [0.0, 1.0])
def test_the_gain_gives_back_what_arbitration_took(gain):
    left, right = left_and_right(weak=0.5)
    e = torch.stack([left, right])[:, None].square()
    method = Arbiter(smoothing=3, gain=gain)
    w = method.weights(e)
    kept = (method.gains(e, w) * w * e).sum(dim=(-2, -1)) / e.sum(dim=(-2, -1))
    assert torch.allclose(kept, torch.ones_like(kept)) == (gain == 0.0)


def test_one_that_says_nothing_takes_nothing_away():
    left, _ = left_and_right()
    eps = eps_of(left, torch.zeros(SIDE, SIDE))
    assert torch.allclose(combined(Arbiter(), eps), eps[1], atol=1e-5)


def test_tokens_are_judged_as_the_picture_they_lie_in():
    eps = eps_of(*(torch.rand(4, 6, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)))
    packed = eps.flatten(-2).transpose(-1, -2)
    found = combined(Arbiter(), packed, grid=(4, 6)).transpose(-1, -2).unflatten(-1, (4, 6))
    assert torch.allclose(found, combined(Arbiter(), eps), atol=1e-6)


def test_the_conditional_half_decides_for_both():
    conditional, other = eps_of(*left_and_right()), eps_of(*reversed(left_and_right()))
    found = combined(Arbiter(), torch.cat([other, conditional], dim=1), halves=2)
    assert torch.allclose(found[1:], combined(Arbiter(), conditional), atol=1e-6)
    assert not torch.allclose(found[:1], combined(Arbiter(), other), atol=1e-2)
