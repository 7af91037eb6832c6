"""Evaluating sets: one look at each picture, groups, refusals, and what must be there."""

import json

import pytest

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.studio.cli.evaluating import comparison_table, results_table
from lora_loom.studio.evaluation.compare import compare_all
from lora_loom.studio.evaluation.evaluate import Asked, ask, evaluate, fitting
from lora_loom.studio.evaluation.feature_cache import FeatureCache
from lora_loom.studio.evaluation.feature_metric import FeatureMetric
from lora_loom.studio.evaluation.metrics.clip_score import ClipScore
from lora_loom.studio.evaluation.pictures import read_pictures
from lora_loom.studio.evaluation.report.build import build
from lora_loom.studio.evaluation.report.from_results import entries_of
from lora_loom.studio.evaluation.report.markdown import markdown
from lora_loom.studio.evaluation.report.page import page
from lora_loom.studio.evaluation.report.rows import rows_of

ROWS = [{"prompt": f"prompt {i // 4}", "seed": i % 4, "method": "merge" if i < 24 else "switch"} for i in range(48)]


@pytest.fixture
def sets(write_folder):
    return read_pictures(write_folder("a", 48, rows=ROWS)), read_pictures(write_folder("b", 40, seed=1))


def test_all_metrics_from_one_look_at_each_picture(sets, extractor):
    names = ["fid", "kid", "precision_recall", "diversity", "nearest_training_image"]
    seen = []
    found = evaluate(sets[0], ask(names, extractor), sets[1], by=[], on_pictures=lambda *done: seen.append(done))
    assert extractor.seen == 88
    assert seen[-1] == (88, 88)
    assert not found.refusals
    row = next(row for row in found.rows() if row["metric"] == "kid")
    assert (row["n"], row["n_reference"], row["extractor"]) == (48, 40, "mean_colours@0123456789ab")


def test_groups_are_found_and_measured_each_on_its_own(sets, extractor):
    cache = FeatureCache()
    both = evaluate(sets[0], ask(["kid"], extractor), sets[1], cache=cache)
    assert [cell.label for cell in both.results] == ["method merge", "method switch"]
    alone = sets[0].where(lambda sample: sample.row["method"] == "switch")
    [expected] = evaluate(alone, ask(["kid"], extractor), sets[1], by=[], cache=cache).rows()
    switch = next(row for row in both.rows() if row["method"] == "switch")
    assert switch == {"method": "switch", **expected}


def test_what_would_mean_nothing_is_refused_and_the_rest_is_measured(sets, extractor):
    few = sets[0].where(lambda sample: sample.name < "008.png")
    found = evaluate(few, ask(["fid", "kid"], extractor), sets[1])
    assert [refusal.metric for refusal in found.refusals] == ["fid"]
    assert {row["metric"] for row in found.rows()} == {"kid"}


def test_each_text_is_read_once(sets, extractor, monkeypatch):
    texts = []
    read = extractor.embed_text
    monkeypatch.setattr(extractor, "embed_text", lambda asked: texts.extend(asked) or read(asked))
    evaluate(sets[0], asked_for(extractor), by=[])
    assert len(texts) == len(set(texts)) == 24  # 12 prompts in two forms


def asked_for(extractor):
    """CLIPScore through the extractor of the tests, which is no CLIP."""
    return [Asked(ClipScore, extractor)]


def test_what_a_metric_needs_is_asked_for_before_work_begins(sets, extractor):
    with pytest.raises(EvaluationError, match=r"fid needs reference pictures.*--reference"):
        evaluate(sets[0], ask(["fid"], extractor))
    with pytest.raises(EvaluationError, match=r"clip_score needs the prompt of every picture.*40 of 40"):
        evaluate(sets[1], asked_for(extractor))
    with pytest.raises(EvaluationError, match="does not say which concepts it has to show"):
        evaluate(sets[0], ask(["joint_success"]))
    assert extractor.seen == 0


def test_what_is_asked_for_is_checked(subtests):
    cases = [
        ("fod", r"no metric named 'fod': expected one of clip_i.*Did you mean 'fid'"),
        ("fid@dinov3:x", r"no feature extractor named 'dinov3'"),
        ("dino@clip:x", r"dino is not defined on clip:x: expected an extractor of kind dinov2"),
        ("clip_score@dinov2:x", "needs an extractor that reads prompts"),
        ("joint_success@clip:x", "looks through no extractor"),
        ("fid@clip", "clip is unavailable because no model is named"),
    ]
    for name, complaint in cases:
        with subtests.test(name=name, complaint=complaint), pytest.raises(EvaluationError, match=complaint):
            ask([name])


def test_without_names_all_that_fits_is_measured(sets, write_folder):
    expected = [{"prompt": "an owlet", "expected": ["owlet"]}]
    named = read_pictures(write_folder("named", 1, rows=expected))
    assert fitting(named, None, "clip") == ["joint_success"]  # clip without a model sees nothing
    assert "joint_success" not in fitting(sets[0], sets[1], "clip:.")
    assert {"fid", "clip_score"} <= set(fitting(sets[0], sets[1], "clip:."))
    assert "clip_score" not in fitting(sets[1], sets[0], "clip:.")
    with pytest.raises(EvaluationError, match="nothing can be measured"):
        fitting(sets[1], None, "clip")


class Spread(FeatureMetric):
    """One number without an interval."""

    name = "spread"
    title = "Spread"
    source = "the tests"

    def compute(self):
        return (self.result(float(self.features("generated").std()), None, self.count("generated")),)


def test_a_metric_without_an_interval_goes_everywhere(sets, extractor, capsys):
    found = evaluate(sets[0], [Asked(Spread, extractor)])
    merge, switch = found.results.values()
    assert [row["ci_low"] for row in found.rows()] == [None, None]
    assert merge[0].warnings == ("no interval: this measure gives none",)
    [difference] = compare_all(merge, switch)
    assert (difference.ci_low, difference.significant) == (None, False)
    results_table(found)
    comparison_table([difference])
    assert capsys.readouterr().out.count("no interval") == 1
    report = build({"a": found}, {}, title="a", facts=[], command="", samples=1)
    assert report.headline == "spread"
    assert "Methods side by side" in page(report)
    assert f"| {merge[0].value:.3f} |" in markdown(report)
    json.dumps(rows_of(report), allow_nan=False)
    assert [entry.measures[0].ci_low for entry in entries_of(found.rows())] == [None, None]
