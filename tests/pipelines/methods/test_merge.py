"""Merge is PEFT's live sum."""

from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

STRENGTHS = {"fox": 0.8, "ink": -0.5, "fog": 1.2}


def test_merge_is_the_live_sum_of_peft(family, pipe, adapters, draw, peft_pipes, error_of):
    plan = Merge().plan([AdapterChoice(*each) for each in STRENGTHS.items()], 3)
    with fused(pipe, plan, adapters):
        found = draw(
            pipe, prompt=["a red cat", "a blue dog"], negative_prompt=["photo", ""] if family != "flux" else None
        )
    expected = draw(
        peft_pipes(family, STRENGTHS),
        prompt=["a red cat", "a blue dog"],
        negative_prompt=["photo", ""] if family != "flux" else None,
    )
    assert error_of(found, expected) <= 1e-5


def test_merge_encodes_the_prompt_once_with_all_adapters():
    plan = Merge().plan([AdapterChoice(*each) for each in STRENGTHS.items()], 3)
    assert plan.text_passes == (STRENGTHS,)
