"""Steps are counted as the scheduler takes them, and progress is read from the level of noise."""

import math

import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler, HeunDiscreteScheduler

from lora_loom.pipelines import schedulers
from lora_loom.pipelines.plan import FusionPlan, Pass
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.steps import StepClock, noise_share


@pytest.fixture
def states_of(draw):
    """The state of every call of the denoiser in a run without adapters."""

    def run(pipe, **call):
        states = []
        plan = FusionPlan((), lambda state: states.append(state) or (Pass({}),), ({},))
        with fused(pipe, plan, {}):
            draw(pipe, **call)
        return states

    return run


def test_a_first_order_scheduler_counts_one_step_per_call(pipe, states_of, calls):
    states = states_of(pipe, num_inference_steps=4)
    assert [state.index for state in states[::calls]] == [0, 1, 2, 3]
    assert len(states) == 4 * calls  # a call of its own for each half of guidance is no step of its own
    assert {state.num_inference_steps for state in states} == {4}


def test_progress_grows_within_zero_and_one(pipe, states_of, calls):
    progress = [state.progress for state in states_of(pipe, num_inference_steps=4)[::calls]]
    assert progress == sorted(set(progress))
    assert 0 <= progress[0] < 0.2  # some schedulers begin a quarter down
    assert progress[-1] <= 1


def test_both_calls_of_a_second_order_step_have_one_index(pipes, states_of):
    pipe = pipes("sd15")
    with schedulers.using(pipe, "heun"):
        states = states_of(pipe, num_inference_steps=3)
    assert [state.index for state in states] == [0, 0, 1, 1, 2]
    assert states[1].timestep == states[2].timestep  # where an index made from timesteps would stumble


def test_calls_for_guidance_belong_to_their_step(pipes, states_of):
    call = {"true_cfg_scale": 2.0, "negative_prompt": "a dog", "num_inference_steps": 2}
    assert [state.index for state in states_of(pipes("flux"), **call)] == [0, 0, 1, 1]


def test_flux_tells_the_timestep_in_the_schedulers_units(pipes, states_of):
    states = states_of(pipes("flux"))
    assert states[0].timestep == pytest.approx(1000.0)
    assert states[0].progress == pytest.approx(0.0)


def test_the_scheduler_is_left_as_it_was():
    scheduler = DDIMScheduler()
    before = dict(vars(scheduler))
    with pytest.raises(ZeroDivisionError), StepClock(scheduler).installed():
        1 / 0  # noqa: B018
    assert vars(scheduler) == before


def test_the_share_of_noise_has_the_schedulers_signal_to_noise_ratio(subtests):
    for timestep in [0, 250, 999]:
        with subtests.test(timestep=timestep):
            scheduler = DDIMScheduler(beta_schedule="scaled_linear")
            share = noise_share(scheduler, timestep)
            alpha_bar = scheduler.alphas_cumprod[timestep].item()
            assert share / (1 - share) == pytest.approx(math.sqrt((1 - alpha_bar) / alpha_bar))


def test_the_share_of_noise_between_training_timesteps_lies_between():
    scheduler = HeunDiscreteScheduler()
    assert noise_share(scheduler, 10.0) < noise_share(scheduler, 10.5) < noise_share(scheduler, 11.0)


def test_flow_matching_timesteps_are_the_share_of_noise():
    assert noise_share(FlowMatchEulerDiscreteScheduler(), 250.0) == 0.25


def test_pure_noise_is_no_progress():
    assert noise_share(DDIMScheduler(rescale_betas_zero_snr=True), 999) == 1.0
    assert torch.isfinite(torch.tensor(noise_share(DDIMScheduler(), 5000)))
