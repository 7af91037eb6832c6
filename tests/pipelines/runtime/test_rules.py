"""A layer rule sees the low-rank activations of a run, scales them or adds them its own way, and is gone after."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from lora_loom.pipelines.adapters.factors import LoraFactors
from lora_loom.pipelines.methods.composite import Composite
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.bank import ModelBank
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.rules import LayerRule

CHOICES = [AdapterChoice("fox", 0.8), AdapterChoice("ink", 0.5), AdapterChoice("fog", 1.2)]


class Scale(LayerRule):
    def __init__(self, factor):
        self.factor, self.sites, self.progress = factor, {}, set()

    def gate(self, site, x, h):
        self.sites.setdefault(site.path, set()).add(site)
        if site.state is not None:
            self.progress.add(site.state.progress)
        return torch.full((), self.factor)


class ForText(Scale):
    text_encoders = True


class ByHand(LayerRule):
    """y + sum of g_k B_k A_k x, one adapter after another."""

    def __init__(self, part_of):
        self.part_of = part_of

    def output(self, site, x, y, h):
        h = site.gated(h)
        for name in site.names:
            y = y + self.part_of(site, name, h)
        return y


def factors(rank, into, out, *kernel, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LoraFactors(
        torch.randn(rank, into, *kernel, generator=generator), torch.randn(out, rank, generator=generator)
    )


@pytest.fixture
def bank():
    torch.manual_seed(0)
    model = nn.ModuleDict({"skip": nn.Linear(3, 3), "norm": nn.LayerNorm(4), "a": nn.Linear(4, 6)})
    model["c"] = nn.Conv2d(4, 5, 3, padding=1)
    made = ModelBank(model, torch.device("cpu"))
    made.attach("fox", {"a": factors(2, 4, 6), "c": factors(2, 4, 5, 3, 3)})
    made.attach("ink", {"c": factors(3, 4, 5, 3, 3, seed=1)})
    return made


INPUTS = {"a": torch.randn(4, 5, 4), "c": torch.randn(4, 4, 6, 8)}


def outputs(bank, gates, rule=None):
    with torch.no_grad(), bank.open(("fox", "ink"), compiled=False, rule=rule):
        bank.activate(gates)
        return {path: bank.model[path](x) for path, x in INPUTS.items()}


@pytest.mark.parametrize("gates", [[{"fox": 0.5, "ink": -2.0}], [{"fox": 1.0}, {"ink": 0.5}]])
def test_a_rule_acts_on_top_of_the_gates(bank, gates, part_of):
    plain, base = outputs(bank, gates), outputs(bank, [{}])
    for rule, share in ((Scale(1.0), 1.0), (Scale(0.0), 0.0), (Scale(0.25), 0.25), (ByHand(part_of), 1.0)):
        found = outputs(bank, gates, rule)
        for path, y in found.items():
            torch.testing.assert_close(y, base[path] + share * (plain[path] - base[path]), atol=1e-5, rtol=1e-5)


def test_a_site_tells_where_it_is(bank):
    rule = Scale(1.0)
    outputs(bank, [{"fox": 1.0, "ink": 2.0}], rule)
    outputs(bank, [{"fox": 3.0, "ink": 2.0}], rule)
    (a,), (c,) = rule.sites["a"], rule.sites["c"]  # one site each, whatever the gates
    assert (a.kind, a.index, a.num_layers, a.depth, a.names) == ("linear", 1, 3, 0.5, ("fox",))
    assert (c.kind, c.index, c.depth, c.names, c.slices) == ("conv", 2, 1.0, ("fox", "ink"), (slice(0, 2), slice(2, 5)))
    assert c.gates.tolist() == [[3.0, 3.0, 2.0, 2.0, 2.0]]
    assert (c.down.shape, c.up.shape) == ((5, 4, 3, 3), (5, 5))
    torch.testing.assert_close(c.up[c.slices[1]], factors(3, 4, 5, 3, 3, seed=1).up.t())
    outputs(bank, [{"fox": 1.0}], rule)
    assert len(rule.sites["c"]) == 2  # another set of adapters is another site


def test_a_batch_that_the_passes_do_not_divide_is_an_error(bank):
    with pytest.raises(ValueError, match=r"batch of 4.*3 passes"):
        outputs(bank, [{"fox": 1.0}, {"fox": 0.5}, {"fox": 0.2}], Scale(1.0))


def test_gradients_reach_what_a_rule_computed(bank):
    weight = torch.tensor(0.7, requires_grad=True)

    class Learned(LayerRule):
        def gate(self, site, x, h):
            return torch.sigmoid(weight * h)

    with bank.open(("fox", "ink"), compiled=False, rule=Learned()):
        bank.activate([{"fox": 1.0, "ink": 1.0}])
        sum(bank.model[path](x).square().sum() for path, x in INPUTS.items()).backward()
    assert weight.grad.abs() > 0


def test_no_rule_is_left_after_an_error(bank):
    class Broken(LayerRule):
        def output(self, site, x, y, h):
            raise RuntimeError

    plain = outputs(bank, [{"fox": 1.0}])
    with pytest.raises(RuntimeError):
        outputs(bank, [{"fox": 1.0}], Broken())
    for path, y in outputs(bank, [{"fox": 1.0}]).items():
        assert torch.equal(y, plain[path])
    with pytest.raises(NotImplementedError, match="LayerRule"):
        outputs(bank, [{"fox": 1.0}], LayerRule())


@pytest.mark.parametrize("method", [Merge(), Composite()])
def test_every_family_runs_under_a_rule(pipe, adapters, draw, error_of, method):
    plan, pictures, base = method.plan(CHOICES, 3), {}, draw(pipe)
    for rule in (None, Scale(1.0), Scale(0.0), Scale(0.5)):
        with fused(pipe, replace(plan, layer_rule=rule), adapters):
            pictures[rule and rule.factor] = draw(pipe)
        if rule is not None:
            assert len(rule.progress) == 3
    assert error_of(pictures[1.0], pictures[None]) <= 1e-5
    assert error_of(pictures[0.5], pictures[None]) > 1e-3
    with fused(pipe, replace(method.plan(CHOICES, 3), layer_rule=ForText(0.0)), adapters):
        assert error_of(draw(pipe), base) <= 1e-5
    if any(each.text_encoders for each in adapters.values()):
        assert error_of(pictures[0.0], base) > 1e-3  # the text encoders of the pass before were not under the rule
    assert torch.equal(draw(pipe), base)


def test_a_rule_reads_the_text_of_every_sample(pipe, adapters, draw, calls):
    seen = set()

    class Reading(Scale):
        def gate(self, site, x, h):
            seen.add(site.text.shape)
            return super().gate(site, x, h)

    rule = Reading(1.0)
    with fused(pipe, replace(Composite().plan(CHOICES, 3), layer_rule=rule), adapters):
        draw(pipe)
    halves = 1 if calls == 2 or type(pipe).__name__.startswith("Flux") else 2  # of guidance in one batch
    assert {shape[0] for shape in seen} == {3 * halves}
    assert {site.text for sites in rule.sites.values() for site in sites} == {None}
