"""The resident pool: attach, switch, detach; only what is open costs work."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.errors import AdapterMatchError
from lora_loom.pipelines.runtime import bank as bank_module
from lora_loom.pipelines.runtime.bank import AdapterBank, ModelBank


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 6), "c": nn.Conv2d(4, 4, 3), "norm": nn.LayerNorm(4)})


def lora(rank=2, out=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LoraFactors(torch.randn(rank, 4, generator=generator), torch.randn(out, rank, generator=generator))


@pytest.fixture
def bank(model):
    made = ModelBank(model, torch.device("cpu"))
    made.attach("fox", {"a": lora(2), "b": lora(2, 6)})
    made.attach("ink", {"a": lora(3, seed=1)})
    return made


def test_only_open_adapters_take_part(model, bank):
    x, (fox, ink) = torch.randn(1, 4), (lora(2).delta(), lora(3, seed=1).delta())
    with bank.open(("fox", "ink"), compiled=False):
        for gates, delta in (
            ({}, 0 * fox),
            ({"fox": 1.0}, fox),
            ({"ink": 2.0}, 2 * ink),
            ({"fox": 1.0, "ink": -1.0}, fox - ink),
        ):
            bank.activate([gates])
            torch.testing.assert_close(model["a"](x), x @ (model["a"].weight + delta).t() + model["a"].bias)
        bank.activate([{"ink": 1.0}])
        assert torch.equal(model["b"](x), x @ model["b"].weight.t() + model["b"].bias)  # no open adapter is there


def test_the_model_is_free_after_the_run_and_after_an_error(model, bank):
    before = {name: dict(vars(module)) for name, module in model.named_modules()}

    def fail():
        with bank.open(("fox",), compiled=False):
            bank.activate([{"fox": 1.0}])
            assert "forward" in vars(model["a"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {name: dict(vars(module)) for name, module in model.named_modules()} == before


def test_one_adapter_alone_is_not_copied(bank):
    bank.activate([{"fox": 1.0}])
    layer, update = next(iter(bank._active.updates.items()))
    assert update.stacked()[0] is bank._residents["fox"]["a"].down
    assert layer.update is update


def test_replacing_an_adapter_forgets_the_old_one(model, bank):
    with bank.open(("fox",), compiled=False):
        bank.activate([{"fox": 1.0}])
    bank.attach("fox", {"a": lora(5, seed=7)})
    with bank.open(("fox",), compiled=False):
        bank.activate([{"fox": 1.0}])
        x = torch.randn(1, 4)
        torch.testing.assert_close(
            model["a"](x), x @ (model["a"].weight + lora(5, seed=7).delta()).t() + model["a"].bias
        )


def test_a_detached_adapter_is_gone(bank):
    bank.activate([{"fox": 1.0}])
    bank.detach("fox")
    assert all(layer.update is None for layer in bank._layers.values())
    bank.activate([{"fox": 1.0}])
    assert all(layer.update is None for layer in bank._layers.values())


def test_factors_that_do_not_fit_are_refused_by_path_and_shape(bank, subtests):
    cases = [
        ("z", lora(), "no such module"),
        ("norm", lora(), "LayerNorm"),
        ("b", lora(2, 4), r"\[6 r\]"),
        ("c", lora(), r"\[r 36\]"),
    ]
    for path, factors, words in cases:
        with subtests.test(path=path, factors=factors, words=words):
            with pytest.raises(AdapterMatchError, match=f"fog.*{path}.*{words}"):
                bank.attach("fog", {"a": lora(), path: factors})
            bank.activate([{"fog": 1.0}])
            assert all(layer.update is None for layer in bank._layers.values())


def test_residents_follow_the_model_to_another_dtype(model, bank):
    model.to(torch.float64)
    bank.follow(torch.device("cpu"))
    assert bank._residents["fox"]["a"].down.dtype == torch.float64


def test_old_stacks_make_room(bank, monkeypatch):
    monkeypatch.setattr(bank_module, "MAX_STACKS", 1)
    bank.attach("fog", {"a": lora(1, seed=2)})
    for names in (("fox", "ink"), ("ink", "fog"), ("fox", "ink")):
        bank.activate([dict.fromkeys(names, 1.0)])
        assert list(bank._stacks) == [names]
    bank.activate([{"fog": 1.0}])  # a stack of one is no copy and does not count
    assert list(bank._stacks) == [("fox", "ink"), ("fog",)]


def test_detaching_frees_the_stack_and_keeps_the_others_right(model, bank):
    x = torch.randn(1, 4)
    with bank.open(("fox", "ink"), compiled=False):
        bank.activate([{"fox": 1.0, "ink": 1.0}])
        model["a"](x)
    bank.detach("ink")
    kept = bank._residents["fox"]["a"]
    assert kept.down.untyped_storage().nbytes() == kept.down.nbytes
    with bank.open(("fox",), compiled=False):
        bank.activate([{"fox": 1.0}])
        torch.testing.assert_close(model["a"](x), x @ (model["a"].weight + lora(2).delta()).t() + model["a"].bias)


def test_an_adapter_that_fits_in_part_is_not_attached_by_half(pipes, three_adapters):
    bank, fox = AdapterBank(pipes("sd15")), three_adapters("sd15")["fox"]
    with pytest.raises(AdapterMatchError):
        bank.attach("fox", replace(fox, text_encoders={"text_encoder": {"nowhere": lora()}}))
    assert not bank.adapters
    assert not bank.denoiser.touched_by({"fox": 1.0})


def test_pipelines_of_the_same_models_share_a_bank(pipes, three_adapters):
    from diffusers import StableDiffusionImg2ImgPipeline

    pipe, adapters = pipes("sd15"), three_adapters("sd15")
    bank = AdapterBank(pipe)
    with bank.open(pipe, {"fox": adapters["fox"]}):
        pass
    other = StableDiffusionImg2ImgPipeline.from_pipe(pipe)
    with bank.open(other, {"ink": adapters["ink"]}):
        assert list(bank.adapters) == ["fox", "ink"]


def test_other_models_empty_the_bank(pipes, new_pipe, three_adapters):
    bank = AdapterBank(pipes("sd15"))
    bank.attach("fox", three_adapters("sd15")["fox"])
    with bank.open(new_pipe("sd15"), {}):
        assert not bank.adapters


def test_the_adapter_used_longest_ago_makes_room(pipes, three_adapters):
    pipe, adapters = pipes("sd15"), three_adapters("sd15")
    bank = AdapterBank(pipe, max_residents=2)
    for name in ("fox", "ink", "fox", "fog"):
        with bank.open(pipe, {name: adapters[name]}):
            pass
    assert list(bank.adapters) == ["fox", "fog"]
    with bank.open(pipe, adapters):  # a run gets all it asks for
        assert set(bank.adapters) == {"fox", "ink", "fog"}
