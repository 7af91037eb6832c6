"""KID equals the U-statistic over all pairs of pictures, is unbiased and may be negative."""

import numpy as np
import pytest

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.metrics.kid import KernelDistance


def test_it_is_the_u_statistic(feed):
    """k(a, b) = (a b / d + 1)^3; mean over pairs of different pictures within a side, less twice that across."""
    rng = np.random.default_rng(0)
    x, y = (rng.normal(mean, 1, (n, 12)).astype(np.float32) for mean, n in ((0.2, 50), (0.0, 40)))

    def mean_of(left, right, apart):
        pairs = [(a, b) for i, a in enumerate(left) for j, b in enumerate(right) if not apart or i != j]
        return np.mean([(float(a @ b) / 12 + 1) ** 3 for a, b in pairs])

    expected = mean_of(x, x, True) + mean_of(y, y, True) - 2 * mean_of(x, y, False)
    result = feed(KernelDistance, x, y).compute()[0]
    assert result.value / 1000 == pytest.approx(expected, abs=1e-6, rel=1e-4)
    assert result.ci_low < result.value < result.ci_high


def test_equal_distributions_have_zero_in_the_mean_and_below_zero_sometimes(feed):
    values = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        values.append(feed(KernelDistance, rng.normal(size=(60, 4)), rng.normal(size=(50, 4))).compute()[0].value)
    assert min(values) < 0
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_one_picture_is_too_few(feed):
    with pytest.raises(EvaluationError, match="kid needs more generated pictures: expected at least 2, found 1"):
        feed(KernelDistance, np.ones((1, 4)), np.ones((9, 4))).compute()
