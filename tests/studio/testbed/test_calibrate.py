"""The forecast on made-up outcomes: it finds what decides, and says so when nothing does."""

import numpy as np
import pytest

from lora_loom.pipelines.forecast.risk import Forecast
from lora_loom.studio.testbed.calibrate import Example, auc, examples, fit, logistic, rank_correlation, rows
from lora_loom.studio.testbed.outcomes import Cell, Outcomes
from lora_loom.studio.testbed.scoring import Score
from lora_loom.studio.testbed.sets import sets_of

NAMES = ("adapters", "cosine_largest", "both_largest", "pressure")


def made_up(part, slope, seed, pictures=12):
    """Sets whose pictures lack a concept the likelier, the larger `both_largest` is; the rest is noise."""
    rng = np.random.default_rng(seed)
    found = []
    for asked in sets_of(part):
        figures = dict(zip(NAMES, map(float, rng.normal(size=len(NAMES))), strict=True)) | {"adapters": float(asked.k)}
        chance = 1 / (1 + np.exp(-slope * figures["both_largest"]))
        found.append(Example(asked, figures, int(rng.binomial(pictures, chance)), pictures))
    return found


def test_it_finds_what_decides_and_holds_on_other_sets():
    forecast = fit(made_up("tuning", 2.0, seed=1))
    largest = max(forecast.terms, key=lambda term: abs(term.coefficient))
    assert largest.feature == "both_largest"
    assert largest.coefficient == pytest.approx(2.0, abs=0.6)
    held = made_up("test", 2.0, seed=2)
    found = {(row["what"], row["predictor"], row["k"]): row for row in rows(forecast, held, resamples=20)}
    ours, cosine = found["AUC", "forecast", None], found["AUC", "cosine", None]
    assert ours["value"] > 0.75
    assert ours["ci_low"] < ours["value"] < ours["ci_high"]
    assert ours["holds"] == (ours["value"] >= 0.8)
    assert cosine["value"] == pytest.approx(0.5, abs=0.08)
    assert found["rank correlation", "forecast", None]["value"] > 0.7
    assert {row["k"] for row in found.values()} == {None, 2, 3, 4, 5}


def test_it_finds_nothing_in_noise():
    forecast = fit(made_up("tuning", 0.0, seed=3))
    held = made_up("test", 0.0, seed=4)
    assert auc([forecast.risk(each.figures) for each in held], held) == pytest.approx(0.5, abs=0.1)
    assert abs(rank_correlation([forecast.risk(each.figures) for each in held], held)) < 0.3


def test_the_model_survives_its_file_and_is_a_probability():
    tuning = made_up("tuning", 2.0, seed=1)
    forecast = fit(tuning)
    assert Forecast.from_json(forecast.to_json()) == forecast
    risks = [forecast.risk(each.figures) for each in tuning]
    assert 0.0 < min(risks) < max(risks) < 1.0
    assert np.mean(risks) == pytest.approx(np.mean([each.lost / each.pictures for each in tuning]), abs=0.02)


def test_outcomes_of_one_kind_cannot_be_fitted():
    with pytest.raises(ValueError, match="both needed"):
        fit([Example(each.asked, each.figures, 0, 12) for each in made_up("tuning", 0.0, seed=1)])


def test_examples_are_the_sets_of_a_part_that_merge_drew():
    tuning, test = sets_of("tuning", (2,), 1)[0], sets_of("test", (2,), 1)[0]
    shown = [dict.fromkeys(tuning.members, True), dict.fromkeys(tuning.members, False)]
    cell = Cell("merge", 2, sets=[tuning, tuning, test], seeds=[1, 2, 3])
    cell.scores["sealed"] = [Score(each, True, {}) for each in (*shown, dict.fromkeys(test.members, True))]
    other = Cell("switch", 2, sets=[tuning], seeds=[1], scores={"sealed": [Score(shown[1], True, {})]})
    outcomes = Outcomes({("merge", 2): cell, ("switch", 2): other})
    figures = {each.name: {"adapters": 2.0} for each in (tuning, test)}
    assert examples(outcomes, "tuning", "sealed", figures) == [Example(tuning, {"adapters": 2.0}, 1, 2)]
    assert [each.lost for each in examples(outcomes, "test", "sealed", figures)] == [0]


def test_the_model_and_its_auc_are_those_of_scikit_learn():
    linear, metrics = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(6)
    x, pictures = rng.normal(size=(40, 3)), np.full(40, 12.0)
    lost = rng.binomial(12, 1 / (1 + np.exp(-x[:, 0] - 0.3))).astype(float)
    rows, y = np.repeat(x, 12, axis=0), np.concatenate([np.arange(12) < each for each in lost])
    for c in (0.01, 10.0):
        intercept, weights = logistic(x, lost, pictures, c)
        expected = linear.LogisticRegression(C=c, tol=1e-10, max_iter=1_000).fit(rows, y)
        assert weights == pytest.approx(expected.coef_[0], abs=1e-5)
        assert intercept == pytest.approx(expected.intercept_[0], abs=1e-5)
    held = [Example(None, {}, int(each), 12) for each in lost]
    scores = np.round(x[:, 0], 1)  # some are equal
    assert auc(scores, held) == pytest.approx(metrics.roc_auc_score(y, np.repeat(scores, 12)))
