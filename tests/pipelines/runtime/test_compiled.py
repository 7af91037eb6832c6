"""Under torch.compile, new weights, switches and closed gates use the graph that is there."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.registry import create
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.bank import AdapterBank, ModelBank
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.rules import LayerRule


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def graphs():
    return counters["stats"]["unique_graphs"]


def random_lora(rank, into, out):
    return LoraFactors(torch.randn(rank, *into), torch.randn(out, rank))


def in_place(model):
    model.compile(backend="eager")
    return model


def wrapped(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("compile_it", [in_place, wrapped])
@pytest.mark.long
def test_no_graph_is_compiled_after_the_first(compile_it):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(2), nn.Linear(16, 8))
    bank = ModelBank(model, torch.device("cpu"))
    for name, rank in (("fox", 2), ("ink", 3), ("fog", 1)):
        bank.attach(name, {"0": random_lora(rank, (3, 3, 3), 4), "2": random_lora(rank, (16,), 8)})
    names, x = ("fox", "ink", "fog"), torch.randn(2, 3, 4, 4)

    def run(called, gates, names=names, compiled=True):
        with torch.no_grad(), bank.open(names, compiled=compiled):
            bank.activate(gates)
            return called(x)

    first = [{"fox": 0.8, "ink": 0.5, "fog": 1.2}]
    reweighted, switched, shut = [{"fox": 0.3, "ink": -0.5}], [{"ink": 1.0}], [{}]
    runs = [(first, names), (reweighted, names), (switched, names), (shut, names), (switched, names[:2])]
    per_pass = [{"fox": 1.0}, {"ink": 2.0}]
    eager = [run(model, *each, compiled=False) for each in runs]
    eager_per_pass = run(model, per_pass, compiled=False)
    called = compile_it(model)
    for each, expected in zip(runs, eager, strict=True):
        torch.testing.assert_close(run(called, *each), expected, atol=1e-5, rtol=1e-5)
        assert graphs() == 1
    torch.testing.assert_close(run(called, per_pass), eager_per_pass, atol=1e-5, rtol=1e-5)  # gates of another shape
    run(called, per_pass[::-1])
    assert graphs() == 2
    assert not counters["graph_break"]


@pytest.mark.parametrize("compile_it", [in_place, wrapped])
def test_a_rule_runs_outside_of_the_graphs(compile_it):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(2), nn.Linear(16, 8))
    bank, x, sites = ModelBank(model, torch.device("cpu")), torch.randn(2, 3, 4, 4), []
    bank.attach("fox", {"0": random_lora(2, (3, 3, 3), 4), "2": random_lora(2, (16,), 8)})

    class Half(LayerRule):
        def gate(self, site, x, h):
            sites.append(site)  # a graph would keep the first
            return torch.tensor(0.5)

    def run(called, compiled, gate, rule):
        with torch.no_grad(), bank.open(("fox",), compiled=compiled, rule=rule):
            bank.activate([{"fox": gate}])
            return called(x)

    plain = run(model, False, 0.5, None)
    called = compile_it(model)
    for _ in range(2):
        sites.clear()
        torch.testing.assert_close(run(called, True, 1.0, Half()), plain)
        assert [site.path for site in sites] == ["0", "2"]
    torch.testing.assert_close(run(called, True, 0.5, None), plain)


@pytest.mark.slow
@pytest.mark.parametrize("of_family", ["sd15", "sdxl", "sd3", "flux"])
def test_a_whole_denoiser_is_compiled_once(new_pipe, three_adapters, draw, error_of, of_family):
    pipe, adapters = new_pipe(of_family), three_adapters(of_family)
    attribute, bank = "unet" if hasattr(pipe, "unet") else "transformer", AdapterBank(pipe)

    def picture(method, strengths, **settings):
        choices = [AdapterChoice(*each) for each in zip(("fox", "ink", "fog"), strengths, strict=False)]
        with fused(pipe, create(method, settings).plan(choices, 3), adapters, bank):
            return draw(pipe)

    runs = [("merge", (0.8, 0.5, 1.2)), ("merge", (0.3, -0.5, 1.0)), ("switch", (0.8, 0.5, 1.2)), ("merge", (0, 0, 0))]
    settings = {"switch": {"switch_every": 1}, "merge": {}}
    expected = [picture(*run, **settings[run[0]]) for run in runs]
    setattr(pipe, attribute, torch.compile(getattr(pipe, attribute), backend="eager"))
    for run, eager in zip(runs, expected, strict=True):
        assert error_of(picture(*run, **settings[run[0]]), eager) <= 1e-5
        assert graphs() == 1
    assert not counters["graph_break"]
