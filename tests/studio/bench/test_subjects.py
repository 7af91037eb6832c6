"""The models that are measured are those that the results name."""

import torch
from torch import nn

from lora_loom.studio.bench.random_loras import random_factors, random_loras, size_bytes
from lora_loom.studio.bench.subjects import SDXL, SKELETON, TINY, attention_linears


def test_size(subtests):
    for subject, linears, in_attention, millions in [
        (SDXL, 743, 560, 2567),
        (SKELETON, 743, 560, 23),
        (TINY, 83, 56, 7),
    ]:
        with subtests.test(subject=subject, linears=linears, in_attention=in_attention, millions=millions):
            unet = subject.build("meta")
            assert sum(isinstance(module, nn.Linear) for module in unet.modules()) == linears
            assert len(list(attention_linears(unet))) == in_attention
            assert round(sum(parameter.numel() for parameter in unet.parameters()) / 1e6) == millions


def test_the_same_weights_and_inputs_every_time(mini):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, two = mini.build(), mini.build()
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    three, third = mini.inputs(batch=3), mini.inputs(first=2)
    assert torch.equal(three["sample"][2:], third["sample"])
    assert not torch.equal(three["sample"][:1], third["sample"])


def test_random_loras_differ_and_repeat(mini):
    unet = mini.build()
    one, two = random_loras(unet, 2).values()
    path = next(iter(one.denoiser))
    assert not torch.equal(one.denoiser[path].down, two.denoiser[path].down)
    assert torch.equal(two.denoiser[path].up, random_factors(unet, seed=1)[path].up)
    assert size_bytes(one) == sum(
        4 * 16 * (linear.in_features + linear.out_features) for _, linear in attention_linears(unet)
    )
