"""Targets and weights against their formulas, and the refusal where min-SNR would train nothing."""

import pytest
import torch

from lora_loom.pipelines.errors import BaseModelError, SettingError
from lora_loom.pipelines.training.prediction import (
    min_snr_weights,
    prediction_target,
    timestep_weights,
    training_scheduler,
)


def test_min_snr_weights_are_their_closed_form():
    snr = torch.tensor([0.5, 5.0, 20.0])
    torch.testing.assert_close(min_snr_weights(snr, 5.0, "epsilon"), torch.tensor([1.0, 1.0, 0.25]))
    torch.testing.assert_close(min_snr_weights(snr, 5.0, "v_prediction"), torch.tensor([0.5 / 1.5, 5 / 6, 5 / 21]))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_weights_by_timestep_use_the_schedule_of_the_base(make_pipe, prediction_type):
    scheduler = training_scheduler(make_pipe(prediction_type))
    alphas = scheduler.alphas_cumprod
    expected = min_snr_weights(alphas / (1 - alphas), 5.0, prediction_type)
    torch.testing.assert_close(timestep_weights(scheduler, 5.0), expected, rtol=1e-4, atol=1e-6)


def test_min_snr_off_has_no_weights(pipe):
    assert timestep_weights(training_scheduler(pipe), 0.0) is None


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_min_snr_is_refused_at_zero_terminal_snr(make_pipe, prediction_type):
    scheduler = training_scheduler(make_pipe(prediction_type, zero_snr=True))
    with pytest.raises(SettingError, match=r"ratio of zero.*layout.*Leave min_snr_gamma off"):
        timestep_weights(scheduler, 5.0)


def test_the_target_is_the_noise_or_the_velocity(make_pipe):
    latents, noise = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    timesteps = torch.tensor([0, 700])
    assert prediction_target(training_scheduler(make_pipe("epsilon")), latents, noise, timesteps) is noise
    scheduler = training_scheduler(make_pipe("v_prediction"))
    alphas = scheduler.alphas_cumprod[timesteps].view(2, 1, 1, 1)
    expected = alphas.sqrt() * noise - (1 - alphas).sqrt() * latents
    torch.testing.assert_close(prediction_target(scheduler, latents, noise, timesteps), expected)


def test_the_schedule_of_the_base_survives_its_sampler(make_pipe):
    pipe = make_pipe("v_prediction", zero_snr=True)
    scheduler = training_scheduler(pipe)
    torch.testing.assert_close(scheduler.alphas_cumprod, pipe.scheduler.alphas_cumprod)
    assert scheduler.alphas_cumprod[-1] < 1e-6


def test_a_base_that_predicts_something_else_is_refused(pipe):
    pipe.scheduler.register_to_config(prediction_type="flow_prediction")
    with pytest.raises(BaseModelError, match=r"epsilon or v_prediction.*flow_prediction"):
        training_scheduler(pipe)
