"""Delta sum adds what each adapter adds, at full strength."""

import pytest
import torch

from lora_loom.pipelines.methods.delta_sum import DeltaSum
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.plan import Predictions
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

CHOICES = [AdapterChoice("fox", 0.9), AdapterChoice("ink", 0.5), AdapterChoice("fog", 0.7)]


def combined(method, eps, **more):
    return method._combine(Predictions(eps, torch.ones(len(eps)), passes=(), state=None, **more))


def test_the_first_step_adds_the_steps_alone(pipe, adapters, draw, error_of):
    """Guidance and a step of a first-order scheduler are affine in the prediction: differences pass through them."""

    def step(plan):
        with fused(pipe, plan, adapters):
            return draw(pipe, num_inference_steps=1)

    base = step(Merge().plan([], 1))
    alone = [step(Merge().plan([choice], 1)) for choice in CHOICES]
    together = step(DeltaSum().plan(CHOICES, 1))
    assert error_of(together, base + sum(each - base for each in alone)) <= 1e-5
    assert error_of(together, alone[0]) > 1e-3


def test_opposite_contributions_cancel():
    eps = torch.tensor([1.0, 3.0, -1.0]).view(3, 1, 1, 1, 1)
    assert combined(DeltaSum(), eps).item() == pytest.approx(1.0)


@pytest.mark.parametrize("halves", [1, 2])
def test_the_limit_holds_the_sum_to_the_largest_contribution(halves):
    eps = torch.randn(3, halves, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    deltas = eps[1:] - eps[0]
    change = combined(DeltaSum(limit=0.5), eps, halves=halves) - eps[0]
    largest = deltas[:, -1].flatten(1).norm(dim=1).max()
    assert change[-1].norm().item() == pytest.approx(0.5 * largest.item(), rel=1e-5)
    assert torch.equal(combined(DeltaSum(limit=100.0), eps, halves=halves), combined(DeltaSum(), eps, halves=halves))


def test_a_budget_computes_fewer_passes(pipe, adapters, draw, per_call):
    with fused(pipe, DeltaSum(budget=2.5).plan(CHOICES, 4), adapters) as run:
        picture = draw(pipe, num_inference_steps=4)
    assert per_call(run.passes) == {"full": 10, "delta": 6}
    with fused(pipe, DeltaSum().plan(CHOICES, 4), adapters):
        assert not torch.equal(picture, draw(pipe, num_inference_steps=4))
