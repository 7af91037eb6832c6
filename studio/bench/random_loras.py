"""Random LoRAs of rank 16 on every attention layer, strong enough to be seen in the output."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.receipt import Receipt
from lora_loom.studio.bench.subjects import attention_linears

RANK = 16
EFFECT = 0.1  # standard deviation of an update's output for inputs of unit variance; a base layer's is about 0.6


def random_factors(unet: nn.Module, seed: int, rank: int = RANK) -> dict[str, LoraFactors]:
    """Factors by module path, in host memory, the same for one seed; for a model on the meta device all zeros."""
    meta = next(unet.parameters()).is_meta
    generator = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int, deviation: float) -> Tensor:
        if meta:
            return torch.zeros(()).expand(rows, columns)
        return torch.randn(rows, columns, generator=generator) * deviation

    return {
        path: LoraFactors(
            down=matrix(rank, linear.in_features, 1 / math.sqrt(linear.in_features)),
            up=matrix(linear.out_features, rank, EFFECT / math.sqrt(rank)),
        )
        for path, linear in attention_linears(unet)
    }


def random_loras(unet: nn.Module, count: int, rank: int = RANK) -> dict[str, Adapter]:
    """Adapters by name; adapter k has seed k."""
    names = [f"lora{index}" for index in range(count)]
    return {name: _adapter(name, random_factors(unet, seed, rank)) for seed, name in enumerate(names)}


def strengths(names: list[str]) -> dict[str, float]:
    """Different ones, so that a gate on the wrong adapter is noticed: 1.0, 0.9, 0.8, ... and again from 1.0."""
    return {name: 1.0 - 0.1 * (index % 8) for index, name in enumerate(names)}


def in_peft_names(factors: dict[str, LoraFactors]) -> dict[str, Tensor]:
    """The tensors as diffusers writes them to a file."""
    tensors: dict[str, Tensor] = {}
    for path, each in factors.items():
        tensors[f"unet.{path}.lora_A.weight"] = each.down.contiguous()
        tensors[f"unet.{path}.lora_B.weight"] = each.up.contiguous()
    return tensors


def size_bytes(adapter: Adapter) -> int:
    """Of the factors of the denoiser."""
    return sum(tensor.nbytes for each in adapter.denoiser.values() for tensor in (each.down, each.up))


def _adapter(name: str, factors: dict[str, LoraFactors]) -> Adapter:
    receipt = Receipt(
        file=name,
        sha256="",
        dialect="peft",
        base_family="sdxl",
        base_family_why="made here",
        target_family="sdxl",
        components={},
    )
    return Adapter(name, denoiser=factors, text_encoders={}, receipt=receipt, sha256="", metadata={})
