"""Parity with PEFT where PEFT is right: `cat`, and `svd` at the sum of the ranks, for plain LoRAs."""

import warnings

import pytest
import torch
from torch import nn

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.weight_space.recompress import recompress
from lora_loom.pipelines.weight_space.stack import Weighted, stack

RANKS, ALPHAS, WEIGHTS = {"fox": 4, "ink": 6}, {"fox": 1, "ink": 12}, {"fox": 0.7, "ink": 0.4}


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(20, 24)
        self.conv = nn.Conv2d(5, 24, 3)


@pytest.fixture(scope="module")
def model():
    """Two random LoRAs on a linear layer and a convolution, held by PEFT, with their merges."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = {
        name: LoraConfig(r=RANKS[name], lora_alpha=ALPHAS[name], target_modules=["linear", "conv"]) for name in RANKS
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = get_peft_model(Layers(), config["fox"], adapter_name="fox")
        model.add_adapter("ink", config["ink"])
        for layer in (model.base_model.model.linear, model.base_model.model.conv):
            for name in RANKS:
                nn.init.normal_(layer.lora_B[name].weight)
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        model.add_weighted_adapter(names, weights, "cat", combination_type="cat")
        model.add_weighted_adapter(names, weights, "svd", combination_type="svd", svd_rank=10)
    return model.base_model.model


def factors(layer, name, scale):
    up = layer.lora_B[name].weight.detach()
    return LoraFactors(layer.lora_A[name].weight.detach(), up.flatten(1) * scale)


def test_stack_and_recompress_give_what_peft_gives(model, close, subtests):
    for kind in ["linear", "conv"]:
        for merge in ["cat", "svd"]:
            with subtests.test(kind=kind, merge=merge):
                layer = getattr(model, kind)
                of = [Weighted(WEIGHTS[name], factors(layer, name, ALPHAS[name] / RANKS[name])) for name in WEIGHTS]
                mine = stack(of) if merge == "cat" else recompress(stack(of), 10).factors
                assert close(mine.delta(), layer.get_delta_weight(merge).detach(), 1e-5)
