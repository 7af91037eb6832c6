"""SDXL's U-Net and FLUX.1-dev's transformer at 1024 x 1024 on the meta device, in a pipeline that can step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from lora_loom.pipelines.adapters.factors import Adapter
from lora_loom.pipelines.families import FluxFusionPipeline
from lora_loom.studio.bench.loom_side import pipeline_around
from lora_loom.studio.bench.random_loras import random_loras
from lora_loom.studio.bench.subjects import SDXL

SIDE = 64  # tokens of a FLUX picture of 1024 pixels, each way
TEXT_TOKENS = 512


@dataclass(frozen=True)
class Bare:
    """A denoiser in a pipeline that holds nothing else, the arguments of a call, and adapters on its attention."""

    title: str
    pipe: Any
    model: Any
    inputs: Mapping[str, Any]
    adapters: Mapping[str, Adapter]


def sdxl(adapters: int) -> Bare:
    model = SDXL.build("meta")
    return Bare("SDXL", pipeline_around(model), model, SDXL.inputs("meta"), random_loras(model, adapters))


def flux(adapters: int) -> Bare:
    with torch.device("meta"):
        model = FluxTransformer2DModel(guidance_embeds=True)  # diffusers' defaults are FLUX.1-dev
    model.eval().requires_grad_(False)
    model.register_forward_pre_hook(_to_meta, with_kwargs=True)
    absent: dict[str, Any] = dict.fromkeys(("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipe = FluxFusionPipeline(**absent, transformer=model, scheduler=FlowMatchEulerDiscreteScheduler())
    places = torch.cartesian_prod(torch.zeros(1), *(torch.arange(float(SIDE)),) * 2)
    config: Any = model.config
    inputs = {
        "hidden_states": torch.empty(1, SIDE * SIDE, config.in_channels, device="meta"),
        "timestep": torch.tensor([0.5]),
        "guidance": torch.empty(1, device="meta"),
        "encoder_hidden_states": torch.empty(1, TEXT_TOKENS, config.joint_attention_dim, device="meta"),
        "pooled_projections": torch.empty(1, config.pooled_projection_dim, device="meta"),
        "img_ids": places,
        "txt_ids": torch.zeros(TEXT_TOKENS, 3),
    }
    return Bare("FLUX.1-dev", pipe, model, inputs, random_loras(model, adapters))


def _to_meta(model: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Timesteps and places stay on the host up to here, where their values can be read."""
    return args, {name: each.to("meta") if isinstance(each, Tensor) else each for name, each in kwargs.items()}
