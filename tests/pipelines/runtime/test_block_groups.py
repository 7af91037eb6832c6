"""Every layer has one role, the groups are those of the family, and a layer's factor is a product over its groups."""

import pytest
import torch
from torch import nn

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.families import families
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.bank import ModelBank
from lora_loom.pipelines.runtime.block_groups import ROLES, BlockGroups, scaled_by_blocks
from lora_loom.pipelines.runtime.placement import carries
from lora_loom.pipelines.runtime.targets import denoiser_of

UNET_NAMES = (*ROLES, "down", "mid", "up", "self_attention", "cross_attention", "feed_forward", "convolution", "text")
DIT_NAMES = (*ROLES, "double", "attention", "feed_forward", "text_stream", "modulation", "text")


def test_groups_of_a_family(pipes, subtests):
    cases = [
        (
            "sd15",
            UNET_NAMES,
            {
                "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": "structure",
                "mid_block.resnets.0.conv1": "structure",
                "up_blocks.1.attentions.0.proj_in": "identity",
                "up_blocks.2.attentions.0.transformer_blocks.0.attn2.to_v": "style",
                "conv_out": "style",
            },
        ),
        (
            "sdxl",
            UNET_NAMES,
            {
                "down_blocks.2.attentions.0.transformer_blocks.1.attn2.to_k": "structure",
                "up_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": "identity",
                "up_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q": "style",
                "up_blocks.0.resnets.0.conv1": "identity",
                "up_blocks.2.resnets.0.conv1": "style",
            },
        ),
        (
            "sd3",
            DIT_NAMES,
            {
                "transformer_blocks.0.attn.to_q": "structure",
                "transformer_blocks.1.ff.net.0.proj": "identity",
                "transformer_blocks.2.attn.to_out.0": "style",
                "context_embedder": "structure",
                "proj_out": "style",
            },
        ),
        (
            "flux",
            (*DIT_NAMES[:4], "single", *DIT_NAMES[4:]),
            {
                "transformer_blocks.1.attn.add_q_proj": "structure",
                "single_transformer_blocks.0.proj_mlp": "identity",
                "single_transformer_blocks.1.attn.to_q": "style",
            },
        ),
    ]
    for family, names, roles in cases:
        with subtests.test(family=family, names=names, roles=roles):
            model = denoiser_of(pipes(family)).model
            groups = BlockGroups(model)
            assert groups.names == names
            layers = [path for path, module in model.named_modules() if carries(module)]
            assert {groups.role(path) for path in layers} == set(ROLES)
            for path, role in roles.items():
                assert path in layers
                assert groups.role(path) == role
            for name in names:
                assert name == "text" or any(name in groups.groups(path) for path in layers)


def test_factors_multiply_and_paths_name_what_is_under_them(pipes):
    groups = BlockGroups(denoiser_of(pipes("flux")).model)
    path = "single_transformer_blocks.1.attn.to_q"
    assert groups.factor({}, path) == 1.0
    assert groups.factor({"style": 0.5, "attention": 0.5, "double": 0.0, "text": 0.0}, path) == 0.25
    assert groups.factor({"single_transformer_blocks.1": 0.5}, path) == 0.5
    assert groups.factor({"single_transformer_blocks.1": 0.5}, "transformer_blocks.1.attn.to_q") == 1.0
    groups.check("fox", ["style", "text", "single_transformer_blocks.1"])
    with pytest.raises(RequestError, match=r"fox .*up.*this base does not have.*double, single"):
        groups.check("fox", ["up"])


class TwoBlocks(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down_blocks = nn.ModuleList([nn.ModuleDict({"attn1": nn.Linear(4, 4)})])
        self.up_blocks = nn.ModuleList([nn.ModuleDict({"attn1": nn.Linear(4, 4)})])
        self.config = {}


def lora(seed, rank=2):
    generator = torch.Generator().manual_seed(seed)
    return LoraFactors(torch.randn(rank, 4, generator=generator), torch.randn(4, rank, generator=generator))


def test_blocks_multiply_the_gates_of_their_layers():
    model, x = TwoBlocks(), torch.randn(3, 4)
    bank = ModelBank(model, torch.device("cpu"), families()["sd15"])
    paths = "down_blocks.0.attn1", "up_blocks.0.attn1"
    bank.attach("fox", {paths[0]: lora(0), paths[1]: lora(1)})
    bank.attach("ink", {paths[1]: lora(2, rank=3)})
    choice = AdapterChoice("fox", blocks={"structure": 0.25, "up": -2.0})
    for controls, (down, up) in (((choice,), (0.25, -2.0)), ((), (1.0, 1.0))):
        with bank.open(("fox", "ink"), compiled=False, controls=controls), torch.no_grad():
            for gates in ([{"fox": 0.5, "ink": 0.5}], [{"fox": 0.5}, {"fox": 0.5, "ink": 0.5}, {}]):
                bank.activate(gates)
                for path, factor in zip(paths, (down, up), strict=True):
                    module = model.get_submodule(path)
                    delta = sum(
                        gates[0].get(name, 0)
                        * share
                        * bank._residents[name][path].down.T
                        @ bank._residents[name][path].up
                        for name, share in (("fox", factor), ("ink", 1.0))
                        if path in bank._residents[name]
                    )
                    rows = x[:1].repeat(len(gates), 1)
                    expected = nn.functional.linear(x[:1], module.weight + delta.T, module.bias)
                    torch.testing.assert_close(module(rows)[:1], expected)


def test_blocks_go_into_the_factors_of_an_adapter(pipes, three_adapters):
    pipe, adapters = pipes("sd15"), three_adapters("sd15")
    choices = [AdapterChoice("fox", blocks={"style": 0.5, "text": 0.0}), AdapterChoice("ink")]
    model = denoiser_of(pipe).model
    scaled = scaled_by_blocks(model, adapters, choices)
    assert scaled["ink"] is adapters["ink"]
    assert scaled["fox"].sha256 != adapters["fox"].sha256
    for path, factors in scaled["fox"].denoiser.items():
        factor = 0.5 if BlockGroups(model).role(path) == "style" else 1.0
        assert torch.equal(factors.delta(), factor * adapters["fox"].denoiser[path].delta())
    assert all(not each.delta().any() for each in scaled["fox"].text_encoders["text_encoder"].values())
