"""Arbiter lets each adapter rule the places where it has most to say relative to its own average."""

import pytest
import torch

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.methods.arbiter import Arbiter
from lora_loom.pipelines.plan import Predictions
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

SIDE = 8


def eps_of(*maps):
    """Base and predictions [1 + n, 1, 2, h, w] whose contributions have these amplitudes at each place."""
    base = torch.randn(1, 1, 2, *maps[0].shape, generator=torch.Generator().manual_seed(0))
    directions = torch.nn.functional.normalize(torch.randn(len(maps), 2, generator=torch.Generator().manual_seed(1)))
    return torch.cat([base, *(base + d.view(1, 1, 2, 1, 1) * m for d, m in zip(directions, maps, strict=True))])


def combined(method, eps, **more):
    return method._combine(Predictions(eps, torch.ones(len(eps)), passes=(), state=None, **more))


def left_and_right(strong=1.0, weak=0.1):
    left, right = torch.full((SIDE, SIDE), weak), torch.full((SIDE, SIDE), weak)
    left[:, : SIDE // 2] = right[:, SIDE // 2 :] = strong
    return left, right


def test_each_rules_its_own_place():
    left, right = left_and_right()
    eps = eps_of(left, right)
    found = combined(Arbiter(sharpness=20.0, smoothing=1, gain=1.0), eps)
    assert torch.allclose(found[..., : SIDE // 2], eps[1][..., : SIDE // 2], atol=1e-5)
    assert torch.allclose(found[..., SIDE // 2 :], eps[2][..., SIDE // 2 :], atol=1e-5)


def test_zero_sharpness_shares_every_place():
    eps = eps_of(*left_and_right())
    deltas = eps[1:] - eps[0]
    assert torch.allclose(
        combined(Arbiter(sharpness=0.0, gain=1.0, flat_from=1.0), eps), eps[0] + deltas.mean(dim=0), atol=1e-6
    )


def test_one_that_says_nothing_takes_nothing_away():
    left, _ = left_and_right()
    eps = eps_of(left, torch.zeros(SIDE, SIDE))
    assert torch.allclose(combined(Arbiter(), eps), eps[1], atol=1e-5)


def test_tokens_are_judged_as_the_picture_they_lie_in():
    eps = eps_of(*(torch.rand(4, 6, generator=torch.Generator().manual_seed(seed)) for seed in (3, 4)))
    packed = eps.flatten(-2).transpose(-1, -2)
    found = combined(Arbiter(), packed, grid=(4, 6)).transpose(-1, -2).unflatten(-1, (4, 6))
    assert torch.allclose(found, combined(Arbiter(), eps), atol=1e-6)


def test_the_conditional_half_decides_for_both():
    conditional, other = eps_of(*left_and_right()), eps_of(*reversed(left_and_right()))
    found = combined(Arbiter(), torch.cat([other, conditional], dim=1), halves=2)
    assert torch.allclose(found[1:], combined(Arbiter(), conditional), atol=1e-6)
    assert not torch.allclose(found[:1], combined(Arbiter(), other), atol=1e-2)


CHOICES = [AdapterChoice("fox", 0.9), AdapterChoice("ink", 0.5), AdapterChoice("fog", 0.7)]


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({}, {"full": 12}),  # two passes per step
        ({"budget": 4.0}, {"full": 24}),
        ({"where": "output"}, {"full": 12, "delta": 12}),
        ({"where": "output", "budget": 4.0}, {"full": 24}),
        ({"where": "layers"}, {"full": 6}),
        ({"where": "regions"}, {"full": 12}),
        ({"where": "regions", "budget": 4.0}, {"full": 24}),
    ],
)
def test_the_budget_is_kept_wherever_it_decides(pipe, adapters, draw, settings, passes, per_call):
    with fused(pipe, Arbiter(**settings).plan(CHOICES, 6), adapters) as run:
        draw(pipe, num_inference_steps=6)
    assert per_call(run.passes) == passes


def test_with_the_budget_for_it_both_decides_on_predictions_to_the_end(pipe, adapters, draw, error_of):
    def drawn(where, budget):
        with fused(pipe, Arbiter(where=where, budget=budget).plan(CHOICES, 4), adapters):
            return draw(pipe, num_inference_steps=4)

    assert error_of(drawn("both", 4.0), drawn("output", 4.0)) <= 1e-5
    assert error_of(drawn("both", 2.0), drawn("output", 4.0)) > 1e-4
    assert error_of(drawn("both", 2.0), drawn("layers", 2.0)) > 1e-4


def test_without_a_budget_of_ones_own_any_number_of_adapters_and_steps_goes(subtests):
    for where in ["output", "both", "regions"]:
        with subtests.test(where=where):
            choices = [AdapterChoice(str(k)) for k in range(12)]
            assert Arbiter(where=where).plan(choices, 4).predicted_cost == pytest.approx(4.0)  # all at the first step
            assert Arbiter(where=where).plan(choices, 48).predicted_cost == pytest.approx(2.0)
            with pytest.raises(SettingError, match=r"at least 4\.00"):
                Arbiter(where=where, budget=2.0).plan(choices, 4)


@pytest.mark.parametrize("where", ["both", "layers", "regions"])
class TestInsideTheLayers:
    def test_one_adapter_is_plain_use_of_it(self, family, pipe, adapters, draw, peft_pipes, error_of, where):
        with fused(pipe, Arbiter(where=where).plan(CHOICES[:1], 3), adapters):
            found = draw(pipe)
        assert error_of(found, draw(peft_pipes(family, {"fox": 0.9}))) <= 1e-5

    def test_pictures_of_a_batch_decide_each_for_itself(self, pipe, adapters, draw, error_of, where):
        def drawn(prompt, seeds):
            generator = [torch.Generator().manual_seed(seed) for seed in seeds]
            with fused(pipe, Arbiter(where=where).plan(CHOICES, 3), adapters):
                return draw(pipe, prompt=prompt, generator=generator, width=96)

        batch = drawn(["a red cat", "a blue dog"], (3, 4))
        assert error_of(batch[:1], drawn(["a red cat"], (3,))) <= 2e-5
        assert error_of(batch[1:], drawn(["a blue dog"], (4,))) <= 2e-5

    def test_order_does_not_matter_and_nothing_is_left_behind(self, pipe, adapters, draw, error_of, where):
        plan = Arbiter(where=where).plan(CHOICES, 3)
        with fused(pipe, plan, adapters):
            first, again = draw(pipe), draw(pipe)
        with fused(pipe, Arbiter(where=where).plan(CHOICES[::-1], 3), adapters):
            backwards = draw(pipe)
        assert torch.equal(first, again)
        assert error_of(backwards, first) <= 1e-5

    def test_a_faint_lora_leaves_the_picture_of_the_others(self, pipe, adapters, draw, error_of, where):
        def drawn(*choices):
            with fused(pipe, Arbiter(where=where).plan(choices, 3), adapters):
                return draw(pipe)

        others = (AdapterChoice("fox", 1.0), AdapterChoice("ink", 1.0))
        without = drawn(*others)
        changes = [error_of(drawn(*others, AdapterChoice("fog", each)), without) for each in (1e-4, 0.1, 0.5, 1.0)]
        assert changes == sorted(changes)
        assert changes[0] <= 0.01 * changes[-1]
