"""The anchor: the same adapters live in PEFT, through diffusers' own verbs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from peft import LoraConfig
from torch import Tensor, nn

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.studio.bench.loom_side import Call
from lora_loom.studio.bench.subjects import ATTENTION_LAYERS


class PeftSide:
    """A U-Net of its own with adapters injected; they take effect from the first `set`."""

    def __init__(self, unet: Any, adapters: Mapping[str, Adapter]) -> None:
        self.unet = unet
        for name, adapter in adapters.items():
            inject(unet, name, adapter.denoiser)

    def set(self, strengths: Mapping[str, float]) -> None:
        self.unet.set_adapters(list(strengths), list(strengths.values()))

    def call(self, inputs: Mapping[str, Any]) -> Call:
        return lambda: self.unet(**inputs, return_dict=False)[0]

    def predict(self, strengths: Mapping[str, float], inputs: Mapping[str, Any]) -> Tensor:
        """One prediction with these adapters, as a person switches with diffusers."""
        self.set(strengths)
        return self.call(inputs)()


def inject(unet: Any, name: str, factors: Mapping[str, LoraFactors]) -> None:
    """Add one adapter to the attention layers with these weights, at alpha equal to its rank."""
    rank = next(iter(factors.values())).rank
    device = next(unet.parameters()).device
    with device:
        unet.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=list(ATTENTION_LAYERS)), name)
    for path, each in factors.items():
        layer: Any = unet.get_submodule(path)
        layer.lora_A[name].weight = _frozen(each.down.to(device))
        layer.lora_B[name].weight = _frozen(each.up.to(device))


def _frozen(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight.clone(memory_format=torch.contiguous_format), requires_grad=False)
