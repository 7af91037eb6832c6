"""Comparing two sets: pairs of one prompt and seed, the same groups left out of both, and no verdict by chance."""

import numpy as np
import pytest

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.compare import compare, compare_all
from lora_loom.studio.evaluation.metrics.fid import FrechetDistance
from lora_loom.studio.evaluation.resampling import mcnemar
from lora_loom.studio.evaluation.result import PerPicture, Result


def result(values, seeds=4, metric="joint_success", shift=0, **parts):
    keys = tuple(f"prompt {i // seeds}\n{i % seeds}" for i in range(shift, shift + len(values)))
    held = PerPicture(keys, tuple(key.partition("\n")[0] for key in keys), np.asarray(values, dtype=float))
    return Result(metric, float(np.mean(values)), (0, 1), len(values), per_picture=held, **parts)


def outcomes(p, seed, n=160):
    return (np.random.default_rng(seed).random(n) < p).astype(float)


def test_pairs_are_subtracted_and_tested():
    a, b = outcomes(0.5, 0), outcomes(0.8, 1)
    found = compare(result(a), result(b))
    assert found.difference == pytest.approx(b.mean() - a.mean())
    assert found.significant
    assert found.p_value == mcnemar(int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum()))
    assert found.n == 160


def test_pairing_finds_what_the_noise_of_prompts_hides():
    level = np.repeat(np.random.default_rng(0).normal(0, 10, 40), 4)
    noise = np.random.default_rng(1).normal(0, 0.1, 160)
    found = compare(result(level, metric="clip_score"), result(level + 0.1 + noise, metric="clip_score"))
    assert found.significant
    assert found.p_value is None
    assert 0.05 < found.ci_low < 0.1 < found.ci_high < 0.15


def test_a_smoke_run_says_not_significant():
    assert not compare(result(outcomes(0.5, 3, 32)), result(outcomes(0.6, 4, 32))).significant


def test_chance_is_rarely_called_significant():
    called = sum(
        compare(result(outcomes(0.7, s, 80)), result(outcomes(0.7, 999 + s, 80))).significant for s in range(60)
    )
    assert called <= 8


def test_those_without_partner_are_counted():
    found = compare(result(outcomes(0.5, 0)), result(outcomes(0.5, 1), shift=40))
    assert found.n == 120
    assert "80 pictures have no partner and no say" in found.warnings


def test_nothing_in_common_is_an_error():
    with pytest.raises(EvaluationError, match="no picture of one set belongs to one of the other"):
        compare(result(outcomes(0.5, 0, 8)), result(outcomes(0.5, 1, 8), shift=400))
    with pytest.raises(EvaluationError, match="do not measure the same thing"):
        compare(result([1.0]), result([1.0], metric="clip_score"))
    with pytest.raises(EvaluationError, match="share no measure"):
        compare_all([result([1.0])], [result([1.0], metric="clip_score")])


def test_several_methods_in_one_set_cannot_be_paired():
    held = result([1.0, 0.0])
    twice = PerPicture(("p\n0", "p\n0"), ("p", "p"), np.array([1.0, 0.0]))
    with pytest.raises(EvaluationError, match="a prompt and seed occur twice in one set: found p, seed 0"):
        compare(Result("joint_success", 0.5, (0, 1), 2, per_picture=twice), held)


def test_distances_of_sets_leave_out_the_same_prompts(feed):
    rng = np.random.default_rng(0)
    noise, reference = rng.normal(size=(400, 6)), rng.normal(size=(400, 6))
    near, far = (feed(FrechetDistance, noise + shift, reference).compute()[1] for shift in (0.3, 0.4))
    found = compare(near, far)
    assert not found.paired
    assert found.significant  # the shared noise cancels, though the intervals of both overlap
    assert near.ci_high > far.ci_low
    assert found.ci_low < found.difference < found.ci_high
