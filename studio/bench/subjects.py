"""The U-Nets that are measured: SDXL itself, its skeleton, and a tiny one; random weights, fixed inputs.

The skeleton has SDXL's topology (743 linear layers, 560 of them in attention) at channels (32, 64, 128): the same
modules and the same Python as SDXL with almost no arithmetic, so it shows on a CPU the cost per layer that a fast GPU
shows, too. The tiny one has so few layers that arithmetic decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

ATTENTION_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_TOKENS = 77
TIME_IDS = 6  # original size, crop corner and target size of SDXL


@dataclass(frozen=True)
class Subject:
    """A U-Net by its configuration; `latent_size` is the side of the square latents it gets."""

    title: str
    config: Mapping[str, Any]
    latent_size: int

    def build(self, device: str = "cpu", seed: int = 0) -> UNet2DConditionModel:
        """The model with random weights, the same for one seed."""
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(seed)
            unet = UNet2DConditionModel(**self.config)
        unet.eval().requires_grad_(False)
        return unet

    def inputs(self, device: str = "cpu", batch: int = 1, first: int = 0) -> dict[str, Any]:
        """A call's arguments for the samples from number `first` on; sample k is the same in every batch."""
        width = self.config["cross_attention_dim"]

        def rows(*shape: int) -> Tensor:  # [batch ...], row k from seed k
            seeds = range(first, first + batch)
            each = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
            return torch.stack(each).to(device)

        call: dict[str, Any] = {
            "sample": rows(4, self.latent_size, self.latent_size),
            "timestep": torch.tensor(500.0),  # on the host, where its value can be read
            "encoder_hidden_states": rows(TEXT_TOKENS, width),
        }
        if "projection_class_embeddings_input_dim" in self.config:
            embedded = TIME_IDS * self.config["addition_time_embed_dim"]
            pooled = self.config["projection_class_embeddings_input_dim"] - embedded
            ids = torch.zeros(batch, TIME_IDS, device=device)
            call["added_cond_kwargs"] = {"text_embeds": rows(pooled), "time_ids": ids}
        return call


def attention_linears(unet: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    """The layers that the adapters act on: q, k, v and out of every attention, by module path."""
    for path, module in unet.named_modules():
        if isinstance(module, nn.Linear) and path.endswith(ATTENTION_LAYERS):
            yield path, module


_SDXL: dict[str, Any] = {  # the configuration of stabilityai/stable-diffusion-xl-base-1.0
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}

SDXL = Subject("SDXL", _SDXL, latent_size=128)

SKELETON = Subject(
    "SDXL skeleton",
    {
        **_SDXL,
        "sample_size": 16,
        "block_out_channels": (32, 64, 128),
        "attention_head_dim": (2, 4, 8),
        "cross_attention_dim": 64,
        "addition_time_embed_dim": 32,
        "projection_class_embeddings_input_dim": 256,
    },
    latent_size=16,  # 23.5 M parameters, 1.16 GFLOP per call
)

TINY = Subject(
    "tiny U-Net",
    {
        "sample_size": 32,
        "block_out_channels": (64, 128, 128),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 1,
        "attention_head_dim": 8,
        "cross_attention_dim": 64,
        "norm_num_groups": 16,
    },
    latent_size=32,  # 6.6 M parameters, 56 attention linears, 2.8 GFLOP per call
)
