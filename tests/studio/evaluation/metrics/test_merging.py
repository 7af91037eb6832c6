"""The contract of every metric: what workers saw merges to a single pass, and results say all a reader needs."""

import pickle

import numpy as np
import pytest

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.evaluation.feature_metric import FeatureMetric
from lora_loom.studio.evaluation.features import ExtractorInfo, TextFeatures
from lora_loom.studio.evaluation.metric import Batch, Sample
from lora_loom.studio.evaluation.registry import metrics

INFO = ExtractorInfo("fixed@0", "pillow-bicubic", 6, True)
N = 80


class Spread(FeatureMetric):
    """A metric of the smallest kind: one number, no interval."""

    name = "spread"
    title = "Spread"
    source = "the tests"

    def compute(self):
        return (self.result(float(self.features("generated").std()), None, self.count("generated"), variant="std"),)


KINDS = {**metrics(), "spread": Spread}


class Flat:
    """A judge that calls every picture an owlet in a city."""

    @staticmethod
    def verdicts(pixels):
        return [{"subject": "owlet", "background": "city" if picture.mean() > 127 else "other"} for picture in pixels]


@pytest.fixture(autouse=True)
def judges(monkeypatch):
    import lora_loom.studio.pocket.judge as judge

    monkeypatch.setattr(judge, "shipped_judge", Flat)
    monkeypatch.setattr(judge, "sealed_judge", Flat, raising=False)


def batch(indices, side):
    rng = np.random.default_rng(0 if side == "generated" else 1)
    features = rng.normal(size=(N, 6)).astype(np.float32)[indices]
    pixels = rng.integers(0, 256, (N, 4, 4, 3), dtype=np.uint8)[indices]
    samples = [
        Sample(f"{side}{i}", f"prompt {i // 4}", i, {"expected": {"subject": "owlet", "background": "city"}})
        for i in indices
    ]
    texts = {
        form: TextFeatures(features[:, ::-1], np.zeros(len(indices), bool)) for form in ("{}", "A photo depicts {}")
    }
    return Batch(samples, features, texts, pixels)


def fed(kind, indices):
    metric = kind(INFO if kind.needs_features else None)
    for side in ("generated", "reference"):
        metric.update(batch(indices, side), side)
    return metric


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_merged_states_are_a_single_pass(kind):
    whole = fed(kind, np.arange(N)).compute()
    first, second, third = (fed(kind, part) for part in np.array_split(np.random.default_rng(3).permutation(N), 3))
    second.merge(pickle.loads(pickle.dumps(third)))  # as another process sends it
    second.merge(first)
    merged = second.compute()
    assert len(whole) == len(merged) >= 1
    for one, other in zip(whole, merged, strict=True):
        assert one.comparable == other.comparable
        assert other.value == pytest.approx(one.value, rel=1e-6, abs=1e-9)
        if one.interval is None:
            assert other.interval is None
        else:
            assert other.interval == pytest.approx(one.interval, rel=1e-6, abs=1e-6)
        assert (one.n, one.warnings) == (other.n, other.warnings)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_results_say_all_that_a_reader_needs(kind):
    for result in fed(kind, np.arange(N)).compute():
        held = result.to_dict()
        if result.interval is None:
            assert held["ci_low"] is held["ci_high"] is None
            assert any(warning.startswith("no interval") for warning in held["warnings"])
        else:
            assert held["ci_low"] <= held["value"] <= held["ci_high"]
        assert held["n"] > 0
        assert held["variant"]
        assert (held["extractor"] != "") == kind.needs_features
        assert (held["resizer"] != "") == kind.needs_features
        assert "per_picture" not in held


@pytest.mark.parametrize("kind", [kind for kind in metrics().values() if kind.name != "fid"], ids=lambda k: k.name)
def test_a_picture_is_not_counted_twice(kind):
    metric = fed(kind, np.arange(20))
    with pytest.raises(EvaluationError, match="counted twice"):
        metric.merge(fed(kind, np.arange(19, 30)))


def test_other_extractors_and_metrics_are_refused():
    kid, cmmd = metrics()["kid"], metrics()["cmmd"]
    with pytest.raises(EvaluationError, match="cannot be merged"):
        kid(INFO).merge(kid(ExtractorInfo("other@1", "pillow-bicubic", 6, True)))
    with pytest.raises(EvaluationError, match="cannot be merged"):
        cmmd(INFO).merge(fed(kid, np.arange(9)))
