"""DARE: right in the mean, as noisy as its formula says, and the same for the same seed."""

import pytest
import torch

from lora_loom.pipelines.weight_space.dare import dare, drop, mask_seed
from lora_loom.pipelines.weight_space.stack import Weighted


@pytest.fixture
def updates(update):
    return [Weighted(0.8, update(0, 4)), Weighted(-0.5, update(1, 6))]


def total(updates, dense):
    return sum(weight * dense(factors) for weight, factors in updates)


def test_keeping_all_is_the_sum(updates, dense, close):
    assert close(dense(dare(updates, 1.0, (1, 2), elect_signs=False)), total(updates, dense))


def test_the_mean_over_seeds_is_the_sum(updates, dense):
    draws = [dense(dare(updates, 0.5, (seed, 1000 + seed), elect_signs=False)) for seed in range(300)]
    expected = total(updates, dense)
    one = float((draws[0] - expected).norm() / expected.norm())
    mean = float((torch.stack(draws).mean(0) - expected).norm() / expected.norm())
    assert one > 0.3
    assert mean < 3 * one / 300**0.5


def test_the_noise_has_the_energy_of_the_formula(subtests):
    for density in [0.9, 0.5, 0.1]:
        with subtests.test(density=density):
            core = torch.randn(300, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            noise = drop(core, density, 7) - core
            assert float(noise.square().sum() / core.square().sum()) == pytest.approx(1 / density - 1, rel=0.05)


def test_a_mask_belongs_to_an_adapter_and_a_layer():
    names = ("fox", "denoiser", "mid_block.attn.to_q")
    assert mask_seed(0, *names) == mask_seed(0, *names)
    others = [mask_seed(1, *names), mask_seed(0, "ink", *names[1:]), mask_seed(0, *names[:2], "mid_block.attn.to_k")]
    assert len({mask_seed(0, *names), *others}) == 4


def test_order_changes_nothing_when_seeds_go_along(updates, dense, close):
    there = dare(updates, 0.5, (1, 2), elect_signs=True)
    back = dare(updates[::-1], 0.5, (2, 1), elect_signs=True)
    assert close(dense(back), dense(there), 1e-5)


def test_elected_signs_drop_what_disagrees(update, dense, close):
    factors = update(0)
    opposites = [Weighted(1.0, factors), Weighted(-0.3, factors)]
    assert close(dense(dare(opposites, 1.0, (1, 2), elect_signs=True)), dense(factors))
    assert close(dense(dare(opposites, 1.0, (1, 2), elect_signs=False)), 0.7 * dense(factors))
