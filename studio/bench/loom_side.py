"""Loom's side of a comparison: a fusion pipeline around a U-Net, with adapters resident."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from torch import Tensor, nn

from lora_loom.pipelines import registry
from lora_loom.pipelines.adapters.factors import Adapter
from lora_loom.pipelines.families import StableDiffusionXLFusionPipeline
from lora_loom.pipelines.plan import FusionPlan
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.bank import AdapterBank
from lora_loom.pipelines.runtime.fused import fused

STEPS = 20
Call = Callable[[], Tensor]


def pipeline_around(unet: nn.Module, kind: type[Any] = StableDiffusionXLFusionPipeline) -> Any:
    """A pipeline that has a U-Net and a scheduler and nothing else; enough to load adapters and call the U-Net."""
    absent = dict.fromkeys(("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipe = kind(**absent, unet=unet, scheduler=EulerDiscreteScheduler(), add_watermarker=False)
    pipe.scheduler.set_timesteps(STEPS)
    return pipe


def plan_of(method: str, strengths: Mapping[str, float]) -> FusionPlan:
    """The method's plan for these adapters with its default settings."""
    choices = [AdapterChoice(name, strength) for name, strength in strengths.items()]
    return registry.create(method, {}).plan(choices, STEPS)


class LoomSide:
    """Calls the U-Net as a pipeline does in its denoising loop, while a plan is in force."""

    def __init__(self, unet: nn.Module, adapters: Mapping[str, Adapter]) -> None:
        self.pipe = pipeline_around(unet)
        self.adapters = adapters
        self.bank = AdapterBank(self.pipe)

    @contextmanager
    def running(self, plan: FusionPlan, inputs: Mapping[str, Any]) -> Generator[Call]:
        """Yields the pipeline's call of its denoiser: inputs in, prediction out."""
        with fused(self.pipe, plan, self.adapters, self.bank):
            yield lambda: self.pipe.unet(**inputs, return_dict=False)[0]
