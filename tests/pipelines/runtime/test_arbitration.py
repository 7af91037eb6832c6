"""Inside the layers each update is scaled at each place by its own energy, or by maps decided before."""

from types import SimpleNamespace

import pytest
import torch

from lora_loom.pipelines.families import families
from lora_loom.pipelines.plan import FusionPlan, Pass
from lora_loom.pipelines.predictions.arbitration import Arbitration
from lora_loom.pipelines.runtime.arbitration import ArbitratedLayers, RegionedLayers
from lora_loom.pipelines.runtime.controls import layout_of
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.rules import LayerRule

GATES = {"fox": 0.9, "ink": 0.5, "fog": 0.7}
ARBITRATION = Arbitration(sharpness=3.0, smoothing=1, gain=0.0, max_gain=2.5, flat_from=1.0)


class Watched(LayerRule):
    """Compares what a rule does at every layer of several adapters with the updates themselves."""

    def __init__(self, rule, compare):
        self.rule, self.compare, self.met = rule, compare, 0

    def gate(self, site, x, h):
        gate = self.rule.gate(site, x, h)
        if site.state is not None and gate.ndim and len(site.names) > 1:
            self.compare(site, h, gate)
            self.met += 1
        return gate


def run(pipe, adapters, draw, rule, **call):
    plan = FusionPlan(tuple(GATES), lambda state: (Pass(GATES),), (GATES,), layer_rule=rule)
    with fused(pipe, plan, adapters):
        return draw(pipe, num_inference_steps=1, **call)


def test_energies_are_those_of_the_updates(pipe, adapters, draw, part_of):
    def compare(site, h, gate):
        updates = [part_of(site, name, site.gated(h)).detach() for name in site.names]
        if site.kind == "conv":
            energies = torch.stack([each.square().sum(dim=1).flatten(1) for each in updates])
            found = torch.stack([gate[:, its.start].flatten(1) for its in site.slices])
        else:
            layout = layout_of(site, h)
            placed = slice(layout.before, h.shape[1] - layout.after)
            assert (gate[:, : layout.before] == 1).all()
            assert (gate[:, placed.stop :] == 1).all()
            energies = torch.stack([each[:, placed].square().sum(dim=-1) for each in updates])
            found = torch.stack([gate[:, placed, its.start] for its in site.slices])
        claims = torch.tensor([GATES[name] for name in site.names]).view(-1, 1, 1, 1)
        expected = ARBITRATION.speaking(energies[:, :, None], claims)[:, :, 0]  # places in one row: nothing is smoothed
        assert torch.allclose(found, expected, rtol=1e-2, atol=1e-4)

    rule = Watched(ArbitratedLayers(ARBITRATION), compare)
    run(pipe, adapters, draw, rule, width=96)
    assert rule.met > 3


def test_maps_reach_every_layer_with_places(family, pipe, adapters, draw, error_of):
    left = torch.zeros(8, 8)
    left[:, :4] = 1.0
    halves = 1 if families()[family].guidance.halves == "calls" else 2
    maps = torch.stack([left, 1 - left, torch.ones(8, 8)])[:, None].repeat(1, halves, 1, 1)
    rule = RegionedLayers(tuple(GATES))
    rule.decide(maps)
    seen = []

    def compare(site, h, gate):
        shares = gate.transpose(-1, -2) if site.kind == "linear" else gate.flatten(2)
        seen.append(
            {name: shares[0, its.start].mean().item() for name, its in zip(site.names, site.slices, strict=True)}
        )

    masked = run(pipe, adapters, draw, Watched(rule, compare))
    assert seen
    assert all(each.get("fog", 1.0) == pytest.approx(1.0) for each in seen)
    assert all(0.4 < each["fox"] < 0.95 for each in seen if "fox" in each)
    rule.decide(torch.ones_like(maps))
    assert error_of(run(pipe, adapters, draw, rule), run(pipe, adapters, draw, None)) <= 1e-5
    assert error_of(masked, run(pipe, adapters, draw, None)) > 1e-3


def test_nothing_is_scaled_before_maps_are_decided():
    rule = RegionedLayers(("fox",))
    assert rule.gate(SimpleNamespace(state=object(), names=("fox",)), None, torch.ones(2, 3)).item() == 1.0
