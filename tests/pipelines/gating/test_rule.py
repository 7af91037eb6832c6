"""A gate at work in the layers of every family: neutral, order-free, pinned, capped, and for any number of adapters."""

from dataclasses import replace

import pytest
import torch

from lora_loom.pipelines.gating.conservation import MAX_GAIN
from lora_loom.pipelines.gating.gate_file import new_gate
from lora_loom.pipelines.gating.heat_log import HeatLog
from lora_loom.pipelines.gating.layer_map import LayerMap
from lora_loom.pipelines.gating.rule import GateRule
from lora_loom.pipelines.methods.arbiter import Arbiter
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.arbitration import ArbitratedLayers
from lora_loom.pipelines.runtime.fused import fused

STRENGTHS = {"fox": 0.8, "ink": 0.5, "fog": 1.2}
KINDS = ("rank", "channel")


@pytest.fixture
def run(pipe, adapters, draw):
    """Draws with a rule; None is the plain sum."""

    def run(rule, strengths=STRENGTHS, names=None, **call):
        plan = Merge().plan([AdapterChoice(*each) for each in strengths.items()], 3)
        with fused(pipe, replace(plan, layer_rule=rule), names or adapters):
            return draw(pipe, **call)

    return run


def rule_of(gate, **how):
    return GateRule(lambda site: gate, **how)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_gate_is_a_merge(pipe, run, error_of, kind):
    model = getattr(pipe, "unet", None) or pipe.transformer
    torch.manual_seed(0)
    gate = new_gate(kind, LayerMap.of(model), 32, hidden=8).requires_grad_(False)
    assert error_of(run(rule_of(gate)), run(None)) <= 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_gate_changes_the_picture_whatever_the_order(pipe, run, loud_gate, error_of, kind):
    rule = rule_of(loud_gate(pipe, kind))
    found = run(rule)
    assert torch.isfinite(found).all()
    assert error_of(found, run(None)) > 1e-3
    assert error_of(run(rule, dict(reversed(STRENGTHS.items()))), found) <= 2e-5


@pytest.mark.parametrize("kind", KINDS)
def test_gates_are_computed_in_full_under_autocast(pipe, run, loud_gate, error_of, kind):
    gate = loud_gate(pipe, kind)
    expected, plain = run(rule_of(gate)), run(None)
    with torch.autocast("cpu", torch.bfloat16):
        found, plain_found = run(rule_of(gate)), run(None)
    assert error_of(found, expected) <= 3 * max(error_of(plain_found, plain), 0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_it_acts_on_what_another_rule_has_left(pipe, run, loud_gate, error_of, kind):
    def arbitrated():
        return ArbitratedLayers(Arbiter().arbitration)

    torch.manual_seed(0)
    neutral = new_gate(kind, LayerMap.of(getattr(pipe, "unet", None) or pipe.transformer), 32, hidden=8)
    expected = run(arbitrated())
    assert error_of(expected, run(None)) > 1e-4
    assert error_of(run(rule_of(neutral.requires_grad_(False), after=arbitrated())), expected) <= 1e-5
    both = run(rule_of(loud_gate(pipe, kind), after=arbitrated()))
    assert error_of(both, expected) > 1e-4
    assert error_of(both, run(rule_of(loud_gate(pipe, kind)))) > 1e-4


def test_before_its_first_step_it_is_the_plain_sum(pipe, run, loud_gate, error_of):
    heat = HeatLog()
    late = rule_of(loud_gate(pipe), heat=heat, after=ArbitratedLayers(Arbiter().arbitration))
    late.from_step = 3
    assert error_of(run(late), run(None)) <= 1e-5
    assert heat.map("", tuple(STRENGTHS)).layers == ()


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_alone_is_left_alone(pipe, run, loud_gate, error_of, kind):
    rule = rule_of(loud_gate(pipe, kind))
    assert error_of(run(rule, {"fox": 0.7}), run(None, {"fox": 0.7})) <= 1e-5
    assert error_of(run(rule, {"fox": 0.7, "ink": 0.0}), run(None, {"fox": 0.7})) <= 1e-5


def test_pinned_adapters_keep_their_gate(pipe, run, loud_gate, error_of):
    gate = loud_gate(pipe)
    everyone = rule_of(gate, pinned=frozenset(STRENGTHS))
    assert error_of(run(everyone), run(None)) <= 1e-5
    assert error_of(run(rule_of(gate, among=frozenset())), run(None)) <= 1e-5  # exempt from the fusion, all of them
    heat = HeatLog()
    run(rule_of(gate, pinned=frozenset({"ink"}), heat=heat))
    values = torch.tensor(heat.map("", ("ink", "fox")).values, dtype=torch.float32)
    assert (values[..., 0].nan_to_num(1.0) == 1).all()
    assert (values[..., 1].nan_to_num(1.0) - 1).abs().max() > 0.1


def test_a_picture_of_a_batch_is_the_picture_alone(pipe, run, loud_gate, error_of):
    rule = rule_of(loud_gate(pipe))
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    batch = run(rule, prompt=["a red cat", "a blue dog"], generator=generators)
    for index, prompt in enumerate(("a red cat", "a blue dog")):
        assert error_of(batch[index : index + 1], run(rule, seed=3 + index, prompt=prompt)) <= 2e-5


@pytest.mark.parametrize("count", [2, 5])
def test_any_number_of_adapters(pipe, adapters, run, loud_gate, count):
    names = {f"fox{index}": adapters["fox"] for index in range(count)}
    assert torch.isfinite(run(rule_of(loud_gate(pipe)), dict.fromkeys(names, 0.3), names)).all()


@pytest.mark.parametrize("family", ["sd15"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_more_than_the_trust_region_is_added(pipe, run, loud_gate, kind, part_of):
    class Watched(GateRule):
        def output(self, site, x, y, h):
            found = super().output(site, x, y, h)
            parts = torch.stack([part_of(site, name, site.gated(h)) for name in site.names])
            channels = 1 if site.kind == "conv" else -1
            base, added = y.norm(dim=channels), (found - y).norm(dim=channels)
            plain = parts.norm(dim=1 + channels if channels == 1 else channels).sum(0)
            excess.append(float((added - torch.maximum(plain, trust * base)).max() / base.max()))
            return found

    gate, excess, trust = loud_gate(pipe, kind, seed=2), [], 0.0
    run(Watched(lambda site: gate, trust=trust), dict.fromkeys(STRENGTHS, 0.5))
    assert max(excess) <= 1e-5
    run(Watched(lambda site: gate, trust=10.0), dict.fromkeys(STRENGTHS, 0.5))
    assert max(excess) > 1e-3  # in a wide region it goes further


@pytest.mark.parametrize("family", ["sd15"])
def test_of_many_only_the_loudest_speak(pipe, run, loud_gate):
    gate = new_gate("rank", LayerMap.of(pipe.unet), 32, hidden=8).requires_grad_(False)
    heat = HeatLog()
    run(rule_of(gate, top_k=1, heat=heat))
    values = torch.tensor(
        [[sum(g or 0 for g in step) for step in layer] for layer in heat.map("", tuple(STRENGTHS)).values]
    )
    torch.testing.assert_close(values, torch.ones_like(values))  # one of them at every token
    pinned = HeatLog()
    run(rule_of(gate, top_k=1, pinned=frozenset({"ink"}), heat=pinned))
    values = torch.tensor(
        [[[g or 0 for g in step] for step in layer] for layer in pinned.map("", tuple(STRENGTHS)).values]
    )
    with_ink = values[..., 1] > 0
    assert with_ink.any()
    assert (values[with_ink][:, 1] == 1).all()
    assert (values[with_ink][:, [0, 2]] == 0).all()


@pytest.mark.parametrize("family", ["sd15"])
def test_the_map_tells_layer_step_and_adapter(pipe, adapters, run, loud_gate):
    heat = HeatLog()
    rule = rule_of(loud_gate(pipe), heat=heat)
    run(rule)
    found = rule.heat_map(tuple(STRENGTHS))
    shared = [path for path, _ in pipe.unet.named_modules() if sum(path in a.denoiser for a in adapters.values()) > 1]
    assert list(found.layers) == shared
    assert found.progress == tuple(sorted(found.progress))
    assert len(found.progress) == 3
    assert {len(layer) for layer in found.values} == {3}
    for layer, path in zip(found.values, found.layers, strict=True):
        there = [path in adapters[name].denoiser for name in STRENGTHS]
        for step in layer:
            assert [value is not None for value in step] == there
            assert all(value is None or 0 < value < 2 * MAX_GAIN for value in step)
    assert found.to_dict()["adapters"] == list(STRENGTHS)
    with pytest.raises(RuntimeError, match="no map"):
        rule_of(loud_gate(pipe)).heat_map(())


@pytest.mark.parametrize("family", ["sd15"])
def test_a_rule_that_is_off_is_a_merge_until_it_is_on_again(pipe, run, loud_gate, error_of):
    rule = rule_of(loud_gate(pipe))
    loud = run(rule)
    with rule.off():
        with rule.off():
            pass
        assert error_of(run(rule), run(None)) <= 1e-5
    assert torch.equal(run(rule), loud)
