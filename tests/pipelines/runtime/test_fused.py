"""fused runs on what diffusers offers: other pipelines, ControlNet, offloading; and refuses what it cannot do."""

import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionInpaintPipeline

from lora_loom.pipelines.errors import BaseModelError, UnknownAdapterError
from lora_loom.pipelines.methods.composite import Composite
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.plan import FusionPlan, Pass
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.denoiser import PlanRun
from lora_loom.pipelines.runtime.fused import fused, is_fused

TWO = [AdapterChoice("fox", 0.9), AdapterChoice("ink", 0.5)]


@pytest.fixture
def sd15(pipes):
    return pipes("sd15")


@pytest.fixture
def adapters(three_adapters):
    return three_adapters("sd15")


def controlnet_for(unet):
    torch.manual_seed(5)
    controlnet = ControlNetModel.from_unet(unet).eval()
    for block in [*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block]:
        torch.nn.init.normal_(block.weight, std=0.1)  # they start at zero, which would control nothing
    return controlnet


def with_controlnet(pipe, controlnet):
    made = StableDiffusionControlNetPipeline(**pipe.components, controlnet=controlnet, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def test_controlnet_residuals_reach_every_pass(sd15, peft_pipes, adapters, draw, error_of):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(9))
    controlnet = controlnet_for(sd15.unet)
    pipe = with_controlnet(sd15, controlnet)
    with fused(pipe, Merge().plan(TWO[:1], 3), adapters):
        found = draw(pipe, image=image)
    expected = draw(with_controlnet(peft_pipes("sd15", {"fox": 0.9}), controlnet), image=image)
    assert error_of(found, expected) <= 1e-5
    pictures = []
    for max_batch in (None, 1):  # repeated along the batch, and pass by pass
        with fused(pipe, Composite().plan(TWO, 3), adapters, max_batch=max_batch) as run:
            pictures.append(draw(pipe, image=image))
        assert run.passes == {"full": 6}
    assert error_of(*pictures) <= 1e-5
    with fused(pipe, Composite().plan(TWO[::-1], 3), adapters):
        assert error_of(draw(pipe, image=image), pictures[0]) <= 1e-5  # the ControlNet reads the plain prompt


def test_inpainting_runs_unchanged(sd15, adapters, draw):
    pipe = StableDiffusionInpaintPipeline.from_pipe(sd15)
    pipe.set_progress_bar_config(disable=True)
    call = {"image": torch.rand(1, 3, 64, 64), "mask_image": torch.ones(1, 1, 64, 64), "height": 64, "width": 64}
    call |= {"strength": 1.0}
    base = draw(pipe, **call)
    with fused(pipe, Composite().plan(TWO, 3), adapters):
        assert not torch.equal(draw(pipe, **call), base)
    assert torch.equal(draw(pipe, **call), base)


def test_memory_that_runs_out_halves_the_batch(sd15, adapters, draw, error_of, monkeypatch):
    choices = [*TWO, AdapterChoice("fog", 0.7)]
    with fused(sd15, Composite().plan(choices, 3), adapters) as run:
        expected = draw(sd15)
    run_passes, tried = PlanRun._run, []

    def small_memory(self, passes, call):
        tried.append(len(passes))
        if len(passes) > 2:
            raise torch.OutOfMemoryError
        return run_passes(self, passes, call)

    monkeypatch.setattr(PlanRun, "_run", small_memory)
    with fused(sd15, Composite().plan(choices, 3), adapters) as run:
        assert error_of(draw(sd15), expected) <= 1e-5
    assert tried == [3, 2, 1, 2, 1, 2, 1]  # learnt at the first step
    assert run.passes == {"full": 9}

    def no_memory(self, passes, call):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(PlanRun, "_run", no_memory)
    with fused(sd15, Composite().plan(choices, 3), adapters), pytest.raises(torch.OutOfMemoryError):
        draw(sd15)


def test_combine_and_weights_come_from_the_plan(sd15, adapters, draw, error_of):
    two = (Pass({"fox": 0.9}, weight=3.0), Pass({"fox": 0.9}, weight=1.0))

    def first_and_last(predictions):
        assert predictions.noise_preds.shape == (2, 2, 4, 8, 8)  # passes, both halves of guidance, c, h, w
        assert predictions.weights.tolist() == [3.0, 1.0]
        return (predictions.noise_preds[0] + predictions.noise_preds[1]) / 2

    with fused(sd15, FusionPlan(("fox",), lambda state: two, ({"fox": 0.9},), first_and_last), adapters):
        found = draw(sd15)
    with fused(sd15, Merge().plan(TWO[:1], 3), adapters):
        assert error_of(found, draw(sd15)) <= 1e-5


def test_the_pipeline_sees_a_unet(sd15, adapters):
    from diffusers import UNet2DConditionModel

    real = sd15.unet
    with fused(sd15, Merge().plan(TWO, 3), adapters):
        assert is_fused(sd15)
        assert isinstance(sd15.unet, UNet2DConditionModel)
        assert sd15.unet.config is real.config
        assert sd15.unet.conv_in is real.conv_in
    assert sd15.unet is real
    assert not is_fused(sd15)


def test_outputs_keep_their_form(sd15, adapters):
    call = (torch.randn(1, 4, 8, 8), torch.tensor(10)), {"encoder_hidden_states": torch.randn(1, 16, 16)}
    with torch.no_grad(), fused(sd15, Merge().plan(TWO, 3), adapters):
        as_object = sd15.unet(*call[0], **call[1])
        as_tuple = sd15.unet(*call[0], **call[1], return_dict=False)
    assert torch.equal(as_object.sample, as_tuple[0])


def test_models_sent_home_after_a_run_are_fused_in_the_next(new_pipe, adapters, draw, monkeypatch):
    """accelerate takes its hooks off and puts new ones on at the end of every run, inside the context."""
    pipe = new_pipe("sd15")
    with fused(pipe, Merge().plan(TWO, 3), adapters):
        expected = draw(pipe)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda *args: torch.device("cpu"))
    pipe.enable_model_cpu_offload(device="cpu")
    with fused(pipe, Merge().plan(TWO, 3), adapters):
        assert torch.equal(draw(pipe), expected)
        assert torch.equal(draw(pipe), expected)
    assert not torch.equal(draw(pipe), expected)


def test_a_missing_adapter_is_named(sd15, adapters):
    with pytest.raises(UnknownAdapterError, match="ink"), fused(sd15, Merge().plan(TWO, 3), {"fox": adapters["fox"]}):
        pass


def test_one_plan_at_a_time(sd15, adapters):
    plan = Merge().plan(TWO, 3)
    with (
        fused(sd15, plan, adapters),
        pytest.raises(BaseModelError, match="already"),
        fused(sd15, plan, adapters),
    ):
        pass


def test_a_pipeline_without_a_denoiser_is_refused(adapters):
    with pytest.raises(BaseModelError, match="unet or a transformer"), fused(object(), Merge().plan(TWO, 3), adapters):
        pass
