"""A pass that reuses its delta follows the first pass of its step, at the distance it had when it last ran."""

import pytest
import torch

from lora_loom.pipelines.plan import FusionPlan, Pass, Predictions, weighted_mean
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.output_deltas import OutputDeltas

FOX, BASE = {"fox": 0.9}, {}


def test_what_is_recalled_is_the_reference_and_the_difference():
    deltas = OutputDeltas()
    deltas.remember("fox", torch.tensor([3.0]), torch.tensor([1.0]))
    assert deltas.holds("fox")
    assert deltas.recall("fox", torch.tensor([5.0])).tolist() == [7.0]
    deltas.clear()
    assert not deltas.holds("fox")
    with pytest.raises(KeyError):
        deltas.recall("fox", torch.tensor([5.0]))


@pytest.fixture
def seen_of(adapters, draw):
    """The predictions of every call of a run whose schedule is given, and the counts of its passes."""

    def run(pipe, schedule, **call):
        seen: list[Predictions] = []

        def combine(predictions):
            seen.append(predictions)
            return weighted_mean(predictions)

        with fused(pipe, FusionPlan(("fox",), schedule, (FOX, BASE), combine), adapters) as fusion:
            draw(pipe, **call)
        return seen, dict(fusion.passes)

    return run


def every_other_step(state):
    return Pass(BASE), Pass(FOX, reuse="delta" if state.index % 2 else "full")


def test_a_delta_pass_runs_nothing_and_keeps_its_distance(pipe, seen_of, per_call, calls):
    seen, passes = seen_of(pipe, every_other_step)
    assert per_call(passes) == {"full": 5, "delta": 1}
    base, fox = seen[0].noise_preds
    later_base, later_fox = seen[calls].noise_preds
    assert torch.equal(later_fox, later_base + (fox - base))
    assert not torch.equal(later_base, base)


def test_nothing_to_reuse_is_a_full_pass(pipe, seen_of, per_call):
    _, passes = seen_of(pipe, lambda state: (Pass(BASE), Pass(FOX, reuse="delta")))
    assert per_call(passes) == {"full": 4, "delta": 2}


def test_another_strength_is_nothing_to_reuse(pipe, seen_of, per_call):
    def weaker(state):
        return Pass(BASE), Pass({"fox": 0.9 - state.index / 10}, text_gates=FOX, reuse="delta")

    _, passes = seen_of(pipe, weaker)
    assert per_call(passes) == {"full": 6}


def test_a_new_run_begins_with_nothing_kept(pipe, adapters, draw, per_call):
    plan = FusionPlan(("fox",), lambda state: (Pass(BASE), Pass(FOX, reuse="delta")), (FOX, BASE))
    with fused(pipe, plan, adapters) as run:
        first = draw(pipe)
        assert torch.equal(draw(pipe), first)
    assert per_call(run.passes) == {"full": 8, "delta": 4}


@pytest.mark.parametrize("family", ["flux"])
def test_guidance_by_a_call_of_its_own_keeps_deltas_of_its_own(pipe, seen_of):
    seen, passes = seen_of(pipe, every_other_step, true_cfg_scale=2.0, negative_prompt="a dog", width=96)
    assert passes == {"full": 10, "delta": 2}
    assert [each.conditional for each in seen] == [True, False] * 3
    assert {(each.halves, each.grid) for each in seen} == {(1, (4, 6))}


@pytest.mark.parametrize("family", ["sd15"])
@pytest.mark.parametrize(("guidance", "halves"), [(5.0, 2), (1.0, 1)])
def test_a_combination_is_told_of_the_halves_of_guidance(pipe, seen_of, guidance, halves):
    seen, _ = seen_of(pipe, every_other_step, guidance_scale=guidance)
    assert {(each.halves, each.conditional, each.grid) for each in seen} == {(halves, True, None)}
    assert seen[0].noise_preds.shape == (2, halves, 4, 8, 8)


@pytest.mark.parametrize("family", ["sd15"])
def test_what_a_combination_remembers_ends_with_the_run(pipe, adapters, draw):
    met = []

    def combine(predictions):
        met.append(predictions.memory.setdefault("first step", predictions.state.index))
        predictions.memory["first step"] = met[-1] + 1
        return weighted_mean(predictions)

    plan = FusionPlan(("fox",), lambda state: (Pass(FOX),), (FOX,), combine)
    with fused(pipe, plan, adapters):
        draw(pipe)
        draw(pipe)
    assert met == [0, 1, 2, 0, 1, 2]
