"""FID equals its formula, FID_inf takes out the bias, and too few pictures are refused."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.frechet import SHARES, groups_for
from lora_loom.studio.evaluation.metrics.fid import FrechetDistance


def gaussian(n, d, seed, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, d))


def test_it_is_the_formula_on_the_same_pictures(extractor, feed):
    """|mu_x - mu_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^1/2), with a general matrix square root."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, high, (150, 16, 16, 3), dtype=np.uint8) for high in (256, 200)]
    x, y = (extractor.embed(pixels).astype(np.float64) for pixels in pictures)
    s_x, s_y = np.cov(x.T), np.cov(y.T)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(s_x + s_y - 2 * sqrtm(s_x @ s_y).real)
    assert feed(FrechetDistance, x, y).compute()[0].value == pytest.approx(expected, abs=1e-6, rel=1e-6)


def test_of_gaussians_in_closed_form(feed):
    x = gaussian(4_000, 8, 0)
    moved = x * 2 + 3  # the same sample, so means and covariances are known exactly
    value = feed(FrechetDistance, moved, x).compute()[0].value
    mean, covariance = x.mean(0), np.cov(x.T)
    assert value == pytest.approx(float(((mean + 3) ** 2).sum() + np.trace(covariance)), rel=1e-5)


@pytest.mark.long
def test_the_limit_takes_out_the_bias_and_covers_the_truth(feed):
    """Truth 0.64; the bias of FID at n = 10 d is more than half of it."""
    d, n, truth, repeats = 16, 160, 16 * 0.2**2, 24
    limits, biased, covered = [], [], 0
    for seed in range(repeats):
        at_n, limit = feed(FrechetDistance, gaussian(n, d, seed, 0.2), gaussian(n, d, 1000 + seed)).compute()
        assert limit.metric == "fid_inf"
        biased.append(at_n.value)
        limits.append(limit.value)
        covered += limit.ci_low <= truth <= limit.ci_high
    assert np.mean(biased) > 1.5 * truth
    assert abs(np.mean(limits) - truth) < 3 * np.std(limits) / np.sqrt(repeats) + 0.03
    assert covered >= 0.9 * repeats


@pytest.mark.long
def test_the_bias_falls_as_one_over_n(feed):
    def bias(n):
        pairs = [(gaussian(n, 16, seed), gaussian(n, 16, 99 + seed)) for seed in range(4)]
        return np.mean([feed(FrechetDistance, *pair).compute()[0].value for pair in pairs])

    assert bias(300) / bias(1_200) == pytest.approx(4, rel=0.15)


def test_at_least_five_sizes_without_replacement():
    assert len(SHARES) >= 5
    assert max(SHARES) <= 1


def test_fewer_pictures_than_features_are_refused(feed):
    with pytest.raises(EvaluationError, match=r"at least as many pictures as features, 16.*found 15 generated"):
        feed(FrechetDistance, gaussian(15, 16, 0), gaussian(100, 16, 1)).compute()


def test_fewer_than_ten_per_feature_are_warned_of(feed):
    few = feed(FrechetDistance, gaussian(100, 16, 0), gaussian(100, 16, 1)).compute()[0]
    enough = feed(FrechetDistance, gaussian(160, 16, 0), gaussian(160, 16, 1)).compute()[0]
    assert "fewer than 10 x 16" in few.warnings[0]
    assert enough.warnings == ()


def test_without_room_for_a_line_there_is_no_limit(feed):
    results = feed(FrechetDistance, gaussian(20, 16, 0), gaussian(20, 16, 1)).compute()
    assert [result.metric for result in results] == ["fid"]
    assert results[0].ci_low is None
    assert any("no interval" in warning for warning in results[0].warnings)


def test_large_features_are_kept_in_fewer_groups():
    assert groups_for(2_048) == 10
    assert groups_for(16) > 10
