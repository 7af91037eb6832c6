"""Agreement, Cohen's kappa and calibration error by hand-made cases and closed forms."""

import numpy as np
import pytest

from lora_loom.studio.evaluation.kappa import agreement, cohens_kappa, expected_calibration_error


def test_kappa_of_a_table_worked_by_hand() -> None:
    # 20 both yes, 5 only the first, 10 only the second, 15 both no: p_o = 0.7, p_e = 0.5, kappa = 0.4
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert agreement(first, second) == pytest.approx(0.7)
    assert cohens_kappa(first, second) == pytest.approx(0.4)


def test_kappa_of_equal_and_of_unrelated_readers() -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.choice(["a", "b", "c"], 20000).tolist() for _ in range(2))
    assert cohens_kappa(one, one) == pytest.approx(1)
    assert cohens_kappa(["a"] * 5, ["a"] * 5) == 1
    assert abs(cohens_kappa(one, other)) < 0.03


def test_kappa_equals_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    one = rng.choice(["a", "b", "c"], 300)
    other = np.where(rng.random(300) < 0.7, one, rng.choice(["a", "b", "c", "d"], 300))
    assert cohens_kappa(one.tolist(), other.tolist()) == pytest.approx(metrics.cohen_kappa_score(one, other))


def test_calibration_error() -> None:
    rng = np.random.default_rng(2)
    confidence = rng.uniform(0.3, 1, 40000)
    assert expected_calibration_error(confidence, rng.random(40000) < confidence) < 0.01
    assert expected_calibration_error(np.full(1000, 0.9), np.arange(1000) < 500) == pytest.approx(0.4)


def test_readings_must_match() -> None:
    with pytest.raises(ValueError, match="same pictures"):
        agreement(["a"], ["a", "b"])
    with pytest.raises(ValueError, match="same pictures"):
        cohens_kappa([], [])
