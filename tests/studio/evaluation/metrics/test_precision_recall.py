"""Precision and recall on sets whose manifolds are known."""

import numpy as np
import pytest

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.metrics.precision_recall import PrecisionRecall, radii, within


def shares(results):
    return {result.metric: result.value for result in results}


def test_half_of_two_islands(feed):
    rng = np.random.default_rng(0)
    left, right = rng.normal(0, 1, (200, 2)), rng.normal(100, 1, (200, 2))
    found = shares(feed(PrecisionRecall, left + 0.01, np.concatenate((left, right))).compute())
    assert found["precision"] > 0.95  # all that is generated is real
    assert found["recall"] == pytest.approx(0.5, abs=0.03)  # but only one island is generated


def test_a_lost_spread_loses_recall_not_precision(feed):
    rng = np.random.default_rng(1)
    found = shares(feed(PrecisionRecall, rng.normal(0, 0.1, (300, 4)), rng.normal(0, 1, (300, 4))).compute())
    assert found["precision"] > 0.9
    assert found["recall"] < 0.1


def test_both_sides_are_cut_to_the_same_number(feed):
    rng = np.random.default_rng(2)
    precision, recall = feed(PrecisionRecall, rng.normal(size=(50, 3)), rng.normal(size=(180, 3))).compute()
    assert precision.n == recall.n == 50
    assert precision.variant == "k = 3, n = 50"
    assert precision.ci_low < precision.value < precision.ci_high


def test_balls_reach_to_the_third_neighbour():
    line = np.arange(6.0)[:, None]
    assert radii(line).tolist() == [9, 4, 4, 4, 4, 9]
    assert within(np.array([[-3.0], [-3.1], [2.2]]), line, radii(line)).tolist() == [True, False, True]


def test_three_pictures_are_too_few(feed):
    with pytest.raises(EvaluationError, match="at least 4, found 3"):
        feed(PrecisionRecall, np.ones((3, 2)), np.ones((9, 2))).compute()
