"""Both gates: neutral when new, in (0, 2), alone at 1, and AutoLoRA's formula where it is claimed."""

import pytest
import torch
import torch.nn.functional as F

from lora_loom.pipelines.gating.channel_gate import ChannelGate
from lora_loom.pipelines.gating.conditions import Conditions
from lora_loom.pipelines.gating.evidence import FEATURES, Evidence, company_of
from lora_loom.pipelines.gating.layer_map import LayerMap
from lora_loom.pipelines.gating.rank_gate import RankGate


@pytest.fixture
def layers():
    torch.manual_seed(0)
    return LayerMap.of(torch.nn.ModuleDict({"to_q": torch.nn.Linear(4, 6), "conv": torch.nn.Conv2d(3, 5, 3)}))


@pytest.fixture
def conditions():
    return Conditions.of(torch.tensor([0.1, 0.9]), torch.randn(2, 7, 16), 16)


def randomised(gate):
    with torch.no_grad():
        for value in gate.parameters():
            value.normal_()
    return gate


def evidence(strengths):
    n = strengths.shape[1]
    return Evidence(torch.randn(2, 3, n, len(FEATURES)), torch.rand(2, 3, n), company_of(strengths))


def test_a_new_rank_gate_is_1_exactly(layers, conditions):
    gate = RankGate(layers, 16)
    found = gate("to_q", evidence(torch.ones(2, 4)), gate.common(conditions))
    assert found.shape == (2, 3, 4)
    assert (found == 1).all()


def test_a_rank_gate_reads_layer_step_and_text(layers, conditions):
    gate = randomised(RankGate(layers, 16))
    seen = evidence(torch.ones(2, 4))
    found = gate("to_q", seen, gate.common(conditions))
    assert ((found > 0) & (found < 2)).all()
    later = Conditions.of(torch.tensor([0.5, 0.5]), None, 16)
    other_text = Conditions(conditions.progress, conditions.text.flip(0))
    for other in (
        gate("conv", seen, gate.common(conditions)),
        gate("to_q", seen, gate.common(later)),
        gate("to_q", seen, gate.common(other_text)),
    ):
        assert (other - found).abs().max() > 1e-3
    assert (gate("to_q", evidence(torch.tensor([[0.7]] * 2)), gate.common(conditions)) == 1).all()


def test_a_new_channel_gate_leaves_the_outputs_alone(layers, conditions):
    gate = ChannelGate(layers, 16)
    y = torch.randn(2, 3, 4, 6)
    gates, said = gate("to_q", torch.randn(2, 3, 6), y, company_of(torch.ones(2, 4)), gate.common(conditions))
    assert (gates == 1).all()
    assert torch.equal(said, y)


def test_the_channel_gate_is_the_formula(layers, conditions):
    gate = randomised(ChannelGate(layers, 16))
    y0, y = torch.randn(2, 3, 6), torch.randn(2, 3, 2, 6)
    span = slice(0, 6)
    gates, said = gate("to_q", y0, y, company_of(torch.ones(2, 2)), gate.common(conditions))
    for k in range(2):
        base = F.layer_norm(y0, (6,), gate.base_scale[span], gate.base_shift[span])
        lora = F.layer_norm(y[:, :, k], (6,), gate.lora_scale[span], gate.lora_shift[span])
        logit = gate.w_base[span] * base + gate.w_lora[span] * lora + gate.w_cross[span] * base * lora + gate.b[span]
        logit = logit + (gate.common(conditions) @ gate.of_conditions[span].t())[:, None]
        torch.testing.assert_close(gates[:, :, k], 2 * torch.sigmoid(logit))
        torch.testing.assert_close(said[:, :, k], gate.w_out[span] * gates[:, :, k] * y[:, :, k])
    alone = y[:, :, :1]
    assert torch.equal(gate("to_q", y0, alone, torch.zeros(2, 1, 1), gate.common(conditions))[1], alone)


def test_conditions_repeat_as_passes_do(conditions):
    wide = conditions.rows(4)
    assert torch.equal(wide.progress, torch.cat((conditions.progress, conditions.progress)))
    assert Conditions.of(torch.tensor([0.5]), torch.randn(1, 7, 8), 16).text is None  # a text of another width
