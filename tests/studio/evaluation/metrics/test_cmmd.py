"""CMMD is about ten times the squared distance of the means; its biased form is larger by a known amount."""

import numpy as np
import pytest

from lora_loom.studio.evaluation.metrics.cmmd import ClipMmd
from lora_loom.studio.evaluation.vectors import unit


def samples(n, m, shift, seed=0, d=64):
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=d)
    return unit(centre + rng.normal(size=(n, d))), unit(centre + shift + rng.normal(size=(m, d)))


@pytest.mark.parametrize("shift", [0.2, 0.8])
def test_the_identity(feed, shift):
    x, y = samples(600, 500, shift)
    unbiased, biased = feed(ClipMmd, x, y).compute()
    assert unbiased.value == pytest.approx(unbiased.details["mean_difference"], rel=0.03)
    assert unbiased.value == pytest.approx(10 * ((x.mean(0) - y.mean(0)) ** 2).sum(), rel=0.25)
    assert (unbiased.variant, biased.variant) == ("U-statistic", "V-statistic, as the released code")


@pytest.mark.parametrize("n", [100, 400])
def test_the_excess_of_the_biased_form(feed, n):
    x, y = samples(n, n, 0.0)
    unbiased, biased = feed(ClipMmd, x, y).compute()
    spread = (np.trace(np.cov(x.T)) + np.trace(np.cov(y.T))) / n
    assert biased.value - unbiased.value == pytest.approx(10 * spread, rel=0.03)


def test_the_biased_form_by_its_definition(feed):
    x, y = samples(30, 40, 0.3)
    squared = lambda a, b: ((a[:, None] - b[None]) ** 2).sum(-1)  # noqa: E731
    k = lambda a, b: np.exp(-squared(a, b) / 200).mean()  # noqa: E731
    biased = feed(ClipMmd, x, y).compute()[1]
    assert biased.value == pytest.approx(1000 * (k(x, x) + k(y, y) - 2 * k(x, y)), abs=1e-4)


def test_it_does_not_see_a_lost_spread_and_says_so(feed):
    rng = np.random.default_rng(0)
    everywhere = unit(rng.normal(size=(400, 8)))
    two_points = np.outer(np.tile([1.0, -1.0], 200), np.eye(8)[0])
    result = feed(ClipMmd, two_points, everywhere).compute()[0]
    assert abs(result.value) < 0.2  # though only two different pictures are left
    assert any("blind to a lost spread" in warning for warning in result.warnings)
