"""The method: which gate it takes, and what it does without one."""

import pytest
import torch

from lora_loom.pipelines.errors import BaseModelError, SettingError
from lora_loom.pipelines.gating import choice
from lora_loom.pipelines.gating.gate_file import new_gate, save_gate
from lora_loom.pipelines.gating.layer_map import LayerMap
from lora_loom.pipelines.methods.arbiter import Arbiter
from lora_loom.pipelines.methods.gated import Gated
from lora_loom.pipelines.methods.merge import Merge
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.fused import fused

STRENGTHS = {"fox": 0.8, "ink": 0.5}


@pytest.fixture
def family():
    return "sd15"


@pytest.fixture
def fuse(pipe, adapters, draw):
    def run(method, on=pipe, strengths=STRENGTHS):
        plan = method.plan([AdapterChoice(*each) for each in strengths.items()], 3)
        with fused(on, plan, adapters):
            picture = draw(on)
        return picture, plan

    return run


@pytest.fixture
def gate_path(pipe, tmp_path):
    torch.manual_seed(0)
    gate = new_gate("rank", LayerMap.of(pipe.unet), 16, hidden=8)
    with torch.no_grad():
        gate.voice.normal_()
    path = tmp_path / "loud.safetensors"
    save_gate(path, gate, base="tiny", family="sd15")
    return path


def test_a_named_gate_acts(fuse, gate_path, error_of):
    found, plan = fuse(Gated(gate=str(gate_path)))
    assert error_of(found, fuse(Merge())[0]) > 1e-3
    heat = plan.layer_rule.heat_map(tuple(STRENGTHS))
    assert heat.gate == "loud"
    assert heat.layers
    pinned, _ = fuse(Gated(gate=str(gate_path), pinned="fox, ink"))
    assert error_of(pinned, fuse(Merge())[0]) <= 1e-5


def test_auto_takes_the_gate_of_this_base(fuse, gate_path, monkeypatch, new_pipe, error_of):
    monkeypatch.setattr(choice, "shipped_gates", lambda: {"loud": gate_path})
    found, plan = fuse(Gated())
    assert torch.equal(found, fuse(Gated(gate=str(gate_path)))[0])
    assert plan.layer_rule.gate_name == "loud"
    torch.manual_seed(5)
    other = new_pipe("sd15")
    with torch.no_grad():
        for value in other.unet.parameters():
            value.copy_(torch.randn_like(value) * 0.1)
    found, plan = fuse(Gated(), on=other)
    assert error_of(found, fuse(Merge(), on=other)[0]) <= 1e-5
    assert plan.layer_rule.gate_name == ""
    with pytest.raises(BaseModelError, match=r"gate loud was trained on another base.*tiny"):
        fuse(Gated(gate=str(gate_path)), on=other)


def test_without_any_gate_it_is_a_merge(fuse, monkeypatch, error_of):
    monkeypatch.setattr(choice, "shipped_gates", dict)
    merged, _ = fuse(Merge())
    assert error_of(fuse(Gated())[0], merged) <= 1e-5
    assert torch.equal(fuse(Gated(gate="none"))[0], merged)


@pytest.mark.parametrize("where", ["both", "layers"])
@pytest.mark.long
def test_arbiter_takes_the_gate_of_this_base_where_layers_decide(fuse, gate_path, monkeypatch, error_of, where):
    monkeypatch.setattr(choice, "shipped_gates", dict)
    alone, plan = fuse(Arbiter(where=where))
    assert error_of(alone, fuse(Arbiter(where=where, gate="none"))[0]) <= 1e-5
    assert not plan.layer_rule.has_map
    monkeypatch.setattr(choice, "shipped_gates", lambda: {"loud": gate_path})
    found, plan = fuse(Arbiter(where=where))
    assert error_of(found, alone) > 1e-3
    assert error_of(found, fuse(Gated())[0]) > 1e-3
    assert plan.layer_rule.has_map
    heat = plan.layer_rule.heat_map(tuple(STRENGTHS))
    assert heat.gate == "loud"
    assert len(heat.progress) == {"both": 2, "layers": 3}[where]  # none while each LoRA ran alone
    assert torch.equal(found, fuse(Arbiter(where=where, gate=str(gate_path)))[0])
    assert torch.equal(fuse(Arbiter(where="output"))[0], fuse(Arbiter(where="output", gate="none"))[0])


def test_a_gate_that_does_not_exist(fuse):
    with pytest.raises(SettingError, match="no gate 'nowhere'"):
        fuse(Gated(gate="nowhere"))
