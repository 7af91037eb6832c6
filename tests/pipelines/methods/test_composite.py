"""Composite follows the mean of one prediction per adapter."""

from dataclasses import replace

import pytest
import torch

from lora_loom.pipelines.methods.composite import Composite
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

NAMES = ("fox", "ink", "fog")
CHOICES = [AdapterChoice("fox", 0.9), AdapterChoice("ink", 0.5), AdapterChoice("fog", 0.7)]


def test_composite_of_equal_adapters_is_one(pipe, adapters, draw, error_of):
    equal = {name: replace(adapters["ink"], name=name) for name in NAMES}
    with fused(pipe, Composite().plan([AdapterChoice(name, 0.8) for name in NAMES], 3), equal):
        together = draw(pipe)
    with fused(pipe, Composite().plan([AdapterChoice("ink", 0.8)], 3), equal):
        alone = draw(pipe)
    assert error_of(together, alone) <= 1e-5


def test_the_first_step_is_the_mean_of_the_steps_alone(pipe, adapters, draw, error_of):
    """Guidance and a step of a first-order scheduler are affine in the prediction: the mean passes through them."""
    call = {"num_inference_steps": 1}

    def step(plan):
        with fused(pipe, plan, adapters):
            return draw(pipe, **call)

    alone = [step(Merge().plan([choice], 1)) for choice in CHOICES]
    together = step(Composite().plan(CHOICES, 1))
    assert error_of(together, torch.stack(alone).mean(dim=0)) <= 1e-5
    assert error_of(together, alone[0]) > 1e-3


@pytest.mark.parametrize("max_batch", [1, 4])
def test_passes_in_parts_draw_the_same(pipe, adapters, draw, error_of, max_batch, per_call):
    plan = Composite().plan(CHOICES, 3)
    with fused(pipe, plan, adapters) as whole:
        expected = draw(pipe)
    with fused(pipe, plan, adapters, max_batch=max_batch) as parts:
        found = draw(pipe)
    assert error_of(found, expected) <= 1e-5
    assert per_call(whole.passes) == per_call(parts.passes) == {"full": 9}
