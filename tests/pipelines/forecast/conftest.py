"""Small adapters from dictionaries of factors, and dense updates to hold closed forms against."""

import pytest
import torch

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.receipt import Receipt

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
K = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
CONV = "mid_block.resnets.0.conv1"
SHAPES = {Q: (12, 10), K: (9, 7), CONV: (8, 5, 3, 3)}


@pytest.fixture
def factors():
    """Random factors of a layer by its shape [out in] or [out in kh kw]."""

    def make(shape, rank, seed, scale=1.0):
        generator = torch.Generator().manual_seed(seed)
        down = torch.randn(rank, *shape[1:], generator=generator)
        return LoraFactors(down, torch.randn(shape[0], rank, generator=generator) * scale)

    return make


@pytest.fixture
def adapter(factors):
    """An adapter of factors by path, or a random one on the layers of SHAPES."""

    def make(name, layers=None, *, text=None, seed=0, rank=3, scale=1.0):
        if layers is None:
            layers = {path: factors(shape, rank, seed + i, scale) for i, (path, shape) in enumerate(SHAPES.items())}
        receipt = Receipt(name, name, "peft", "pocket", "", "pocket", {})
        return Adapter(name, layers, {"text_encoder": text} if text else {}, receipt, f"sha {name}", {})

    return make
