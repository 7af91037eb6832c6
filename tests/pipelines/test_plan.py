"""Plans are plain data, and their usual combination is a weighted mean."""

import torch

from lora_loom.pipelines.plan import Pass, Predictions, base_plan, weighted_mean


def mean_of(noise_preds, weights):
    return weighted_mean(Predictions(noise_preds, weights, passes=(), state=None))


def test_the_weighted_mean_divides_by_the_weights():
    predictions = torch.tensor([[[1.0, 2.0]], [[3.0, 6.0]]])  # [n b d]
    assert mean_of(predictions, torch.tensor([1.0, 3.0])).tolist() == [[2.5, 5.0]]


def test_one_prediction_comes_back_untouched():
    predictions = torch.randn(1, 2, 3)
    assert torch.equal(mean_of(predictions, torch.tensor([0.3])), predictions[0])


def test_the_mean_keeps_the_dtype():
    assert mean_of(torch.ones(2, 1, dtype=torch.bfloat16), torch.ones(2)).dtype == torch.bfloat16


def test_a_prompt_is_encoded_with_the_gates_of_its_pass_unless_told_otherwise():
    assert Pass({"fox": 1.0}).encoded_with == {"fox": 1.0}
    assert Pass({"fox": 1.0}, text_gates={}).encoded_with == {}


def test_the_base_plan_opens_nothing():
    plan = base_plan()
    assert plan.adapters == ()
    assert [dict(each.gates) for each in plan.schedule(None)] == [{}]
    assert plan.text_passes == ({},)
