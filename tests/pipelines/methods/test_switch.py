"""Switch opens one adapter at a time, each for tau steps, without an off-by-one."""

import pytest
import torch

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.methods.switch import Switch
from lora_loom.pipelines.plan import StepState
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

CHOICES = [AdapterChoice("fox", 0.9), AdapterChoice("ink", 0.5), AdapterChoice("fog", 0.7)]


def turns(method, choices, steps):
    plan = method.plan(choices, steps)
    states = [StepState(index, steps, index / steps, 0.0, torch.zeros(1)) for index in range(steps)]
    return [dict(each.gates) for state in states for each in plan.schedule(state)]


def test_each_adapter_draws_its_steps_in_the_order_chosen():
    drawn = turns(Switch(switch_every=2), CHOICES, 8)
    assert drawn == [{"fox": 0.9}] * 2 + [{"ink": 0.5}] * 2 + [{"fog": 0.7}] * 2 + [{"fox": 0.9}] * 2


def test_the_paper_changes_every_five_steps():
    drawn = turns(Switch(), CHOICES[:2], 12)
    assert drawn == [{"fox": 0.9}] * 5 + [{"ink": 0.5}] * 5 + [{"fox": 0.9}] * 2


def test_every_turn_has_its_own_encoding_of_the_prompt():
    assert Switch().plan(CHOICES, 3).text_passes == ({"fox": 0.9}, {"ink": 0.5}, {"fog": 0.7})


def test_the_second_step_is_the_second_adapters(pipe, adapters, draw, error_of):
    """From equal latents, a step of the run with turns is the step of the adapter whose turn it is, drawing alone."""

    def latents_of_steps(choices, resume=None):
        found = []

        def note(pipe, step, timestep, tensors):
            found.append(tensors["latents"].clone())
            return {} if resume is None else {"latents": resume[step]}

        with fused(pipe, Switch(switch_every=1).plan(choices, 3), adapters):
            draw(pipe, callback_on_step_end=note)
        return found

    switched = latents_of_steps(CHOICES)
    alone = [latents_of_steps([choice], resume=switched) for choice in CHOICES]
    errors = [[error_of(each[step], switched[step]) for step in range(3)] for each in alone]
    assert all((errors[turn][step] <= 1e-5) == (turn == step) for turn in range(3) for step in range(3))


def test_a_turn_is_a_whole_number_of_steps(subtests):
    for steps in [0, 101, 1.5, True, "5"]:
        with subtests.test(steps=steps), pytest.raises(SettingError, match="switch_every"):
            Switch(switch_every=steps)
