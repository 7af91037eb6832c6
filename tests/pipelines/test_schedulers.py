"""Schedulers by name follow the base's own noise schedule, or are refused."""

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from lora_loom.pipelines import schedulers
from lora_loom.pipelines.errors import RequestError


def test_diffusion_bases_have_the_usual_names(pipes, subtests):
    for name in ["ddim", "dpm++", "euler", "heun", "unipc"]:
        with subtests.test(name=name):
            assert name in schedulers.names_for(pipes("sd15"))
            assert name in schedulers.names_for(pipes("sdxl"))


def test_flow_matching_bases_have_those_that_can_follow_them(pipes):
    assert schedulers.names_for(pipes("sd3")) == ("default", "euler", "heun", "unipc")
    assert schedulers.names_for(pipes("flux")) == ("default", "euler", "unipc")  # heun cannot shift with the size
    for family in ("chroma", "zimage"):  # and takes no sigmas
        assert "heun" not in schedulers.names_for(pipes(family))
    assert schedulers.names_for(pipes("zimage")) == ("default", "euler")  # unipc multiplies its list of sigmas


def test_every_name_draws(pipe, draw):
    for name in schedulers.names_for(pipe):
        with schedulers.using(pipe, name):
            latents = draw(pipe)
        assert torch.isfinite(latents).all()
        assert latents.std() > 0.5  # DDIM and DDPM would clip latents as if they were pixels


def test_the_base_keeps_its_scheduler_and_config(pipe):
    own, config = pipe.scheduler, dict(pipe.config)
    with schedulers.using(pipe, "euler"):
        assert pipe.scheduler is not own
    assert pipe.scheduler is own
    assert dict(pipe.config) == config


def test_the_noise_schedule_is_the_bases(new_pipe):
    pipe = new_pipe("sd15")
    pipe.scheduler = DDIMScheduler(
        prediction_type="v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing"
    )
    with schedulers.using(pipe, "dpm++"):
        assert type(pipe.scheduler) is DPMSolverMultistepScheduler
        assert pipe.scheduler.config.prediction_type == "v_prediction"
        assert pipe.scheduler.config.timestep_spacing == "trailing"
        assert pipe.scheduler.config.rescale_betas_zero_snr
    assert "heun" not in schedulers.names_for(pipe)
    with pytest.raises(RequestError, match="pure noise"), schedulers.using(pipe, "heun"):
        pass


def test_an_unknown_name_lists_the_known_ones(pipes):
    with pytest.raises(RequestError, match=r"'foo'.*default, ddim"), schedulers.using(pipes("sd15"), "foo"):
        pass
