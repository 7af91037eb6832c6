"""Intervals cover what they should cover, and are the same every time."""

import numpy as np
import pytest
from scipy import stats

from lora_loom.studio.evaluation.resampling import (
    cluster_bootstrap,
    group_of,
    jackknife,
    jackknife_error,
    mcnemar,
    paired_share_interval,
    proportion_interval,
)
from lora_loom.studio.results import wilson

REPEATS = 200


def drawn(rng, prompts, seeds, *, binary):
    """Values of pictures that share half of their variance with those of the same prompt, and their prompts."""
    level = np.repeat(rng.normal(size=prompts), seeds)
    clusters = [str(index) for index in np.repeat(np.arange(prompts), seeds)]
    values = level + rng.normal(size=prompts * seeds)
    return (values > -1.0).astype(float) if binary else values, clusters


@pytest.mark.long
def test_95_percent_intervals_cover_the_truth(subtests):
    for binary in [False, True]:
        for prompts in [10, 60]:
            with subtests.test(binary=binary, prompts=prompts):
                truth = stats.norm.cdf(1 / np.sqrt(2)) if binary else 0.0
                rng = np.random.default_rng(1)
                covered = 0
                for _ in range(REPEATS):
                    values, clusters = drawn(rng, prompts, 4, binary=binary)
                    low, high = proportion_interval(values, clusters) if binary else cluster_bootstrap(values, clusters)
                    covered += low <= truth <= high
                assert 0.90 <= covered / REPEATS <= 0.99


def test_drawing_pictures_instead_of_prompts_would_not():
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(40):
        values, _ = drawn(rng, 15, 16, binary=False)
        low, high = cluster_bootstrap(values, [str(i) for i in range(len(values))], resamples=500)
        covered += low <= 0 <= high
    assert covered / 40 < 0.7


def test_the_same_values_give_the_same_interval():
    values, clusters = drawn(np.random.default_rng(0), 12, 3, binary=False)
    assert cluster_bootstrap(values, clusters) == cluster_bootstrap(values, clusters)


def test_the_standard_error_of_a_mean_by_the_jackknife_is_the_usual_one():
    x = np.random.default_rng(0).normal(size=50)
    replicates = {i: np.delete(x, i).mean() for i in range(len(x))}
    assert jackknife_error(replicates) == pytest.approx(x.std(ddof=1) / np.sqrt(len(x)))
    low, high = jackknife(x.mean(), replicates)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 49, x.mean(), stats.sem(x)))


def test_few_clusters_give_no_interval():
    assert cluster_bootstrap([1.0, 2.0], ["a", "a"]) is None
    assert jackknife(0.0, dict.fromkeys(range(4), 0.0)) is None


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_a_share_without_exceptions_still_has_a_width(outcome):
    interval = proportion_interval([outcome] * 40, [str(i // 4) for i in range(40)])
    assert interval == wilson(int(40 * outcome), 40)
    assert interval[0] < interval[1]


def test_mcnemar_is_the_exact_binomial_test():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(0, 5) == pytest.approx(2 * 0.5**5)
    assert mcnemar(3, 9) == mcnemar(9, 3)


def test_a_difference_of_shares_has_a_width_and_covers():
    low, high = paired_share_interval(0, 0, 50)
    assert low < 0 < high
    assert low == -high
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(REPEATS):
        a, b = rng.random(60) < 0.6, rng.random(60) < 0.7
        low, high = paired_share_interval(int((a & ~b).sum()), int((b & ~a).sum()), 60)
        covered += low <= 0.1 <= high
    assert 0.90 <= covered / REPEATS <= 0.99


def test_groups_depend_on_the_prompt_alone():
    assert [group_of(f"prompt {i}", 20) for i in range(5)] == [3, 15, 12, 1, 18]
    sizes = np.bincount([group_of(str(i), 20) for i in range(4_000)], minlength=20)
    assert sizes.min() > 140
