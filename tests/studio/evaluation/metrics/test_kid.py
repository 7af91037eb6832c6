"""KID equals torchmetrics' with one subset of all pictures, is unbiased and may be negative."""

import numpy as np
import pytest
import torch
from torch import nn

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.metrics.kid import KernelDistance


class Pass(nn.Module):
    """Features as they are, in the place of torchmetrics' Inception."""

    num_features = 12

    def forward(self, x):
        return x


def test_it_is_that_of_torchmetrics(feed):
    """With one subset of all pictures."""
    from torchmetrics.image.kid import KernelInceptionDistance

    rng = np.random.default_rng(0)
    x, y = (rng.normal(mean, 1, (90, 12)).astype(np.float32) for mean in (0.2, 0.0))
    metric = KernelInceptionDistance(feature=Pass(), subsets=1, subset_size=90)
    metric.update(torch.from_numpy(x), real=False)
    metric.update(torch.from_numpy(y), real=True)
    mean, _ = metric.compute()
    result = feed(KernelDistance, x, y).compute()[0]
    assert result.value / 1000 == pytest.approx(float(mean), abs=1e-4, rel=1e-4)
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
