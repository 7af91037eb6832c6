"""A DoRA is W' = m (W + B A) / |W + B A|, alone as in PEFT, and beside others an update of the base's weight."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from lora_loom.pipelines.adapters.factors import LoraFactors, Magnitude
from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.methods.composite import Composite
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.control import Region
from lora_loom.pipelines.runtime.bank import ModelBank
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.rules import LayerRule

PARTS = {
    "sd15": ("attn", "resnets.0.conv1", "downsamplers"),
    "sdxl": ("attn", "resnets.0.conv1"),
    "sd3": ("attn", "ff.net"),
    "flux": ("attn", "proj_mlp"),
    "chroma": ("attn", "proj_mlp"),
    "zimage": (".attention.", "feed_forward"),
}


def dora_tensors(pipe, lora_tensors, family, seed=5):
    """A random DoRA in PEFT's layout, with magnitudes up to a fifth off the norms of the base's weights."""
    tensors = lora_tensors(pipe, seed, parts=PARTS[family], text=False)  # transformers loses magnitudes on the way
    generator = torch.Generator().manual_seed(seed)
    modules = {"unet": getattr(pipe, "unet", None), "transformer": getattr(pipe, "transformer", None)}
    for key in [key for key in tensors if key.endswith("lora_A.weight")]:
        component, path = key.removesuffix(".lora_A.weight").split(".", 1)
        weight = modules[component].get_submodule(path).weight.detach()
        norms = weight.flatten(1).norm(dim=1) * (1 + 0.2 * (2 * torch.rand(len(weight), generator=generator) - 1))
        magnitude = norms.view(1, -1, 1, 1) if weight.ndim == 4 else norms
        tensors[key.replace("lora_A.weight", "lora_magnitude_vector")] = magnitude
    return tensors


@pytest.fixture(scope="module")
def doras(pipes, lora_tensors):
    made = {}

    def get(family):
        if family not in made:
            pipe = pipes(family)
            tensors = dora_tensors(pipe, lora_tensors, family)
            adapter = load_adapter(dict(tensors), name="dora", target=BaseTarget.from_pipeline(pipe))
            made[family] = tensors, adapter
        return made[family]

    return get


@pytest.fixture
def dora(doras, family):
    return doras(family)[1]


@pytest.mark.filterwarnings("ignore")
def test_one_dora_is_the_same_in_peft(family, pipe, new_pipe, doras, draw, error_of):
    tensors, adapter = doras(family)
    plain = new_pipe(family)
    plain.load_lora_weights(dict(tensors), adapter_name="dora")
    base, expected = draw(pipe), draw(plain)
    with fused(pipe, Merge().plan([AdapterChoice("dora")], 3), {"dora": adapter}):
        found = draw(pipe)
    assert error_of(found, expected) <= 1e-5
    assert error_of(found, base) > 1e-3
    without = {name: replace(each, magnitude=None) for name, each in adapter.denoiser.items()}
    with fused(pipe, Merge().plan([AdapterChoice("dora")], 3), {"dora": replace(adapter, denoiser=without)}):
        assert error_of(draw(pipe), expected) > 1e-3  # the magnitudes matter
    assert torch.equal(draw(pipe), base)


def changed_weight(weight, factors):
    w = weight + (factors.up @ factors.down.flatten(1)).view(weight.shape)
    dims = [d for d in range(w.ndim) if d != (0 if factors.magnitude.of == "output" else 1)]
    shape = [-1 if d not in dims else 1 for d in range(w.ndim)]
    return w * factors.magnitude.values.view(shape) / w.square().sum(dims, keepdim=True).sqrt()


def random_factors(module, rank, of=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    out, *into = module.weight.shape
    magnitude = Magnitude(torch.rand(out if of == "output" else into[0], generator=generator) + 0.5, of) if of else None
    down, up = torch.randn(rank, *into, generator=generator), torch.randn(out, rank, generator=generator)
    return LoraFactors(down, up, magnitude)


MODULES = {
    "linear": (nn.Linear(16, 12), torch.randn(4, 5, 16)),
    "no bias": (nn.Linear(5, 4, bias=False), torch.randn(4, 3, 5)),
    "conv": (nn.Conv2d(4, 6, 3, stride=2, padding=1), torch.randn(4, 4, 8, 10)),
}


@pytest.mark.parametrize("of", ["output", "input"])
@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("ruled", [False, True])
def test_strength_is_the_way_from_the_base_to_the_dora(kind, of, ruled):
    """W + g (DoRA(W) - W), beside a LoRA and another DoRA, with gates for each pass of a batch."""

    class Plain(LayerRule):
        def gate(self, site, x, h):
            return torch.ones(())

    module, x = MODULES[kind]
    first, second, plain = (random_factors(module, 3, how, seed) for seed, how in enumerate((of, "output", None)))
    bank = ModelBank(nn.ModuleDict({"a": module}), torch.device("cpu"))
    for name, factors in (("first", first), ("second", second), ("plain", plain)):
        bank.attach(name, {"a": factors})

    def expected(gates):
        weight = module.weight + gates.get("plain", 0.0) * plain.delta()
        for name, factors in (("first", first), ("second", second)):
            weight = weight + gates.get(name, 0.0) * (changed_weight(module.weight, factors) - module.weight)
        functional = nn.functional.linear if x.ndim == 3 else lambda *a: nn.functional.conv2d(*a, 2, 1)
        return functional(x, weight, module.bias)

    some = [{"first": 1.0}, {"first": 0.4, "plain": -0.5}, {"first": 0.5, "second": -1.0, "plain": 0.5}]
    with torch.no_grad(), bank.open(("first", "second", "plain"), compiled=False, rule=Plain() if ruled else None):
        for gates in some:
            bank.activate([gates])
            torch.testing.assert_close(module(x), expected(gates), atol=1e-4, rtol=1e-4)
        bank.activate(some[:2])
        both = torch.cat([expected(some[0])[:2], expected(some[1])[2:]])
        torch.testing.assert_close(module(x), both, atol=1e-4, rtol=1e-4)
    assert torch.equal(module(x), nn.Module.__call__(module, x))


def test_a_dora_lives_beside_others_in_every_family(pipe, adapters, dora, draw, error_of):
    """Off it leaves the others alone, in passes of its own it is itself, and its region is its own."""
    everyone = {**adapters, "dora": dora, "twin": replace(dora, name="twin")}

    def picture(method, *choices):
        with fused(pipe, method.plan(choices, 2), everyone):
            return draw(pipe, num_inference_steps=2)

    fox, full = AdapterChoice("fox", 0.8), AdapterChoice("dora", 0.7)
    assert error_of(picture(Merge(), fox, AdapterChoice("dora", 0.0)), picture(Merge(), fox)) <= 1e-5
    assert error_of(picture(Merge(), fox, full), picture(Merge(), full, fox)) <= 1e-5
    assert error_of(picture(Composite(), full, replace(full, name="twin")), picture(Merge(), full)) <= 1e-5
    empty = Region.painted(Image.new("L", (64, 64), 0))
    assert error_of(picture(Merge(), fox, replace(full, region=empty)), picture(Merge(), fox)) <= 1e-5
    assert error_of(picture(Merge(), full, replace(fox, strength=0.0, region=empty)), picture(Merge(), full)) <= 1e-5


@pytest.mark.parametrize("name", ["ties", "lion", "svd"])
def test_methods_that_fuse_weights_refuse_a_dora_with_the_reason(name, pipes, three_adapters, doras, draw):
    pipe, adapters = pipes("sd15"), {**three_adapters("sd15"), "dora": doras("sd15")[1]}
    plan = create(name).plan([AdapterChoice("fox"), AdapterChoice("dora")], 2)
    with (
        pytest.raises(AdapterMatchError, match=r"dora is a DoRA.*rescales the base's own weight"),
        fused(pipe, plan, adapters),
    ):
        draw(pipe)
    alone = create(name).plan([AdapterChoice("fox"), AdapterChoice("ink"), AdapterChoice("dora", exempt=True)], 2)
    with fused(pipe, alone, adapters):
        assert torch.isfinite(draw(pipe)).all()


def test_a_dora_needs_the_bases_own_numbers():
    module = nn.Linear(8, 6)
    factors = random_factors(module, 2, "output")
    bank = ModelBank(nn.ModuleDict({"a": module}), torch.device("cpu"))
    with pytest.raises(AdapterMatchError, match=r"6 magnitudes.*found 5"):
        bank.attach("dora", {"a": replace(factors, magnitude=Magnitude(torch.ones(5)))})
    module.weight = nn.Parameter(
        torch.ones(48, dtype=torch.uint8), requires_grad=False
    )  # as a quantised layer packs it
    with pytest.raises(AdapterMatchError, match="quantisation"):
        bank.attach("dora", {"a": factors})
    module.weight = nn.Parameter(torch.empty(6, 8, device="meta"))
    with pytest.raises(AdapterMatchError, match="offloaded"):
        bank.attach("dora", {"a": factors})


def test_a_dora_follows_the_model_to_another_dtype():
    module, x = nn.Linear(16, 12), torch.randn(2, 16)
    factors = random_factors(module, 2, "output")
    expected = nn.functional.linear(x, changed_weight(module.weight, factors), module.bias).double()
    model = nn.ModuleDict({"a": module})
    bank = ModelBank(model, torch.device("cpu"))
    bank.attach("dora", {"a": factors})
    model.double()
    bank.follow(torch.device("cpu"))
    with torch.no_grad(), bank.open(("dora",), compiled=False):
        bank.activate([{"dora": 1.0}])
        torch.testing.assert_close(module(x.double()), expected, atol=1e-5, rtol=1e-5)
