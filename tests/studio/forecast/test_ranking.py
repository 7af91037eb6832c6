"""Remedies are ranked by the risk they leave, and none that raises it is offered."""

from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.receipt import Receipt
from lora_loom.pipelines.forecast.examine import examine
from lora_loom.pipelines.forecast.report import Remedy
from lora_loom.pipelines.forecast.risk import Forecast, Term, features
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.forecast.ranking import RISK, ranked

PATHS = tuple(f"{block}.attentions.0.transformer_blocks.0.attn1.to_q" for block in ("down_blocks.1", "up_blocks.0"))

LOUD = Forecast("pocket", "merge", 0.0, (Term("log2_all", 7.0, 1.0, 1.0),), 1, 1, None)  # the stronger, the worse


def remedy(title, strengths, method="merge", blocks=None):
    choices = tuple(AdapterChoice(name, value, blocks=blocks or {}) for name, value in strengths.items())
    return Remedy(title, "", choices, method, {}, ())


def adapter(name, seed):
    generator = torch.Generator().manual_seed(seed)
    layers = {
        path: LoraFactors(torch.randn(3, 32, generator=generator), torch.randn(32, 3, generator=generator))
        for path in PATHS
    }
    return Adapter(name, layers, {}, Receipt(name, name, "peft", "pocket", "", "pocket", {}), f"sha {name}", {})


@pytest.fixture
def rank(tiny_pocket):
    denoiser = UNet2DConditionModel.from_pretrained(tiny_pocket / "unet")
    adapters = {"a": adapter("a", 0), "b": adapter("b", 50)}
    report = examine(adapters, dict.fromkeys(adapters, 1.0))

    def run(*remedies):
        return ranked(replace(report, remedies=remedies), LOUD, adapters, None, denoiser), report

    return run


def test_the_least_risk_comes_first_and_more_is_not_offered(rank):
    found, report = rank(
        remedy("up", {"a": 2.0, "b": 2.0}),
        remedy("lion", {"a": 1.0, "b": 1.0}, method="lion"),
        remedy("down", {"a": 0.9, "b": 0.9}),
        remedy("half", {"a": 0.5, "b": 0.5}),
    )
    assert [each.title for each in found] == ["half", "down", "lion"]
    before = LOUD.risk(features(report))
    shown = found[0].effects[0]
    assert (shown.what, shown.before) == (RISK, pytest.approx(before))
    assert shown.after < found[1].effects[0].after < before
    assert found[2].effects == ()


def test_a_remedy_that_leaves_one_lora_has_no_risk_of_a_set(rank):
    found, _ = rank(remedy("alone", {"a": 3.0}))
    assert [each.effects for each in found] == [()]


def test_blocks_count(rank):
    found, _ = rank(remedy("held", {"a": 1.0, "b": 1.0}, blocks={PATHS[1]: 0.1}))
    (effect,) = found[0].effects
    assert effect.after < effect.before
