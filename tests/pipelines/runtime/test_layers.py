"""The low-rank layers compute base(x) + B (g * (A x)), leave the module as they found it, and stay few kernels."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lora_loom.pipelines.runtime.layers import LowRankConv, LowRankLinear, PlacedFactors, Update

GATES = torch.tensor([[0.5, 0.5, -2.0]])  # two ranks of one adapter, one of another


def update_of(down, up, gate, split=2):
    """An update of two adapters whose factors are stacked in `down` [R ...] and `up` [R d_out]."""
    sources = [PlacedFactors(down[:split], up[:split]), PlacedFactors(down[split:], up[split:])]
    made = Update(sources, (0, 1))
    made.gate = gate
    return made


def test_a_linear_layer_adds_the_gated_update(subtests):
    for d_in, d_out in [(4, 6), (12, 16), (16, 12)]:
        with subtests.test(d_in=d_in, d_out=d_out):
            torch.manual_seed(0)
            module = nn.Linear(d_in, d_out)
            down, up, x = torch.randn(3, d_in), torch.randn(3, d_out), torch.randn(2, 5, d_in)
            layer = LowRankLinear(module)
            layer.update = update_of(down, up, GATES)
            expected = module(x) + x @ (down.t() @ torch.diag(GATES[0]) @ up)
            layer.hook()
            torch.testing.assert_close(module(x), expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(module(x[:, 0]), expected[:, 0], atol=1e-5, rtol=1e-5)  # without a token axis


def test_a_convolution_goes_down_as_its_base_does(subtests):
    cases = [{"padding": 1}, {"padding": 1, "stride": 2}, {"dilation": 2}, {"padding_mode": "circular", "padding": 1}]
    for how in cases:
        with subtests.test(how=how):
            torch.manual_seed(0)
            module = nn.Conv2d(4, 6, 3, **how)
            down, up, x = torch.randn(3, 4, 3, 3), torch.randn(3, 6), torch.randn(2, 4, 8, 10)
            merged = nn.Conv2d(4, 6, 3, **how)
            merged.load_state_dict(module.state_dict())
            merged.weight.data += torch.einsum("r,ro,rihw->oihw", GATES[0], up, down)
            layer = LowRankConv(module)
            layer.update = update_of(down, up, GATES)
            layer.hook()
            for memory_format in (torch.contiguous_format, torch.channels_last):
                found = module(x.to(memory_format=memory_format))
                torch.testing.assert_close(found, merged(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("module", "layer_of", "x"),
    [
        (nn.Linear(4, 6), LowRankLinear, torch.randn(4, 5, 4)),
        (nn.Conv2d(4, 6, 3, padding=1), LowRankConv, torch.randn(4, 4, 8, 8)),
    ],
)
def test_every_pass_of_a_batch_has_its_own_gates(module, layer_of, x):
    down, up = torch.randn(3, *module.weight.shape[1:]), torch.randn(3, 6)
    gates = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.5]])
    layer = layer_of(module)
    layer.hook()
    layer.update = update_of(down, up, gates)
    together = module(x)
    for index in range(2):
        layer.update = update_of(down, up, gates[index : index + 1])
        alone = module(x[2 * index : 2 * index + 2])
        torch.testing.assert_close(together[2 * index : 2 * index + 2], alone, atol=1e-5, rtol=1e-5)
    layer.update = update_of(down, up, torch.ones(3, 3))
    with pytest.raises(ValueError, match=r"batch of 4.*3 passes"):
        module(x)


@pytest.mark.parametrize("width", [4, 16])
def test_new_gates_are_folded_at_the_next_forward(width):
    module, x = nn.Linear(width, width), torch.randn(1, width)
    down, up = torch.randn(3, width), torch.randn(3, width)
    layer = LowRankLinear(module)
    layer.update = update_of(down, up, GATES.clone())
    layer.hook()
    module(x)
    layer.update.gate.mul_(2)
    layer.update.stale = True
    torch.testing.assert_close(module(x), layer.base(x) + x @ (down.t() @ torch.diag(2 * GATES[0]) @ up))


def test_a_gate_of_all_adapters_needs_no_folded_copy():
    module, down, up, x = nn.Linear(16, 16), torch.randn(3, 16), torch.randn(3, 16), torch.randn(1, 16)
    layer = LowRankLinear(module)
    layer.update = update_of(down, up, torch.full((1, 3), 0.7))
    layer.update.scale = 0.7
    layer.hook()
    torch.testing.assert_close(module(x), layer.base(x) + 0.7 * x @ down.t() @ up)
    stacked = layer.update.stacked()
    assert all(mine is its for mine, its in zip(layer.update.weighted()[:2], stacked, strict=True))


def test_stacked_factors_are_held_once():
    update = update_of(torch.randn(3, 4), torch.randn(3, 4), GATES)
    down, up = update.stacked()
    for source in update.sources:
        assert source.down.untyped_storage().data_ptr() == down.untyped_storage().data_ptr()
        assert source.up.untyped_storage().data_ptr() == up.untyped_storage().data_ptr()
    assert torch.equal(torch.cat([source.down for source in update.sources]), down)
    update.sources[0].leave_stack()
    assert torch.equal(update.sources[0].down, down[:2])
    assert update.sources[0].down.untyped_storage().nbytes() == update.sources[0].down.nbytes


@pytest.mark.parametrize("width", [4, 16])
def test_half_precision_and_autocast_keep_their_dtype(width):
    module, half = nn.Linear(width, width, dtype=torch.bfloat16), torch.eye(width, dtype=torch.bfloat16)[:4]
    layer = LowRankLinear(module)
    layer.hook()
    for gate in (torch.full((1, 4), 0.8), torch.full((2, 4), 0.8)):  # folded, and per pass
        layer.update = Update([PlacedFactors(half, half)], (0,))
        layer.update.gate = gate
        x = torch.ones(2, width, dtype=torch.bfloat16)
        expected = layer.base(x).float() + 0.8 * x.float() @ half.float().t() @ half.float()
        torch.testing.assert_close(module(x).float(), expected, atol=0.02, rtol=0.01)
        assert module(x).dtype == torch.bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert module(x.float()).dtype == torch.bfloat16


def test_without_an_update_the_layer_is_its_base():
    module, x = nn.Linear(4, 4), torch.randn(2, 4)
    before = module(x)
    layer = LowRankLinear(module)
    layer.hook()
    assert torch.equal(module(x), before)


def test_unhooking_restores_the_modules_own_attributes():
    module = nn.Linear(4, 4)
    before = dict(vars(module))
    layer = LowRankLinear(module)
    layer.hook()
    layer.unhook()
    assert dict(vars(module)) == before

    def offloading(x):
        return F.linear(x, module.weight)

    module.forward = offloading  # as accelerate's hooks do
    layer.hook()
    assert layer.base is offloading
    layer.unhook()
    assert module.forward is offloading


def test_a_forward_put_there_meanwhile_is_left_alone():
    module = nn.Linear(4, 4)
    layer = LowRankLinear(module)
    layer.hook()
    module.forward = newer = F.relu
    layer.unhook()
    assert module.forward is newer


class Kernels(TorchDispatchMode):
    """Counts what is dispatched, views apart."""

    VIEWS = ("view", "t", "transpose", "expand", "_unsafe_view", "detach", "alias", "select", "slice", "unsqueeze")

    def __init__(self):
        super().__init__()
        self.names = []

    @property
    def count(self):
        return len(self.names)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix("aten::")
        if name not in self.VIEWS:
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def test_channels_last_costs_one_plain_product():
    """A batched product into such memory takes a CPU far longer than the convolution itself."""
    torch.manual_seed(0)
    module, x = nn.Conv2d(4, 6, 3, padding=1).to(memory_format=torch.channels_last), torch.randn(2, 4, 8, 10)
    layer = LowRankConv(module)
    layer.hook()
    layer.update = update_of(torch.randn(3, 4, 3, 3), torch.randn(3, 6), GATES)
    x = x.to(memory_format=torch.channels_last)
    with torch.no_grad(), Kernels() as kernels:
        y = module(x)
    assert "addmm_" in kernels.names
    assert "baddbmm_" not in kernels.names
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_an_update_costs_few_kernels_whatever_the_number_of_adapters(subtests):
    for adapters, width, shared, per_pass in [(1, 64, 2, 3), (8, 64, 2, 3), (8, 16, 1, 3)]:
        with subtests.test(adapters=adapters, width=width, shared=shared, per_pass=per_pass):
            module, x = nn.Linear(width, width), torch.randn(2, 5, width)
            layer = LowRankLinear(module)
            layer.hook()
            factors = [PlacedFactors(torch.randn(2, width), torch.randn(2, width)) for _ in range(adapters)]
            layer.update = Update(factors, range(adapters))
            with torch.no_grad():
                for passes, extra in ((1, shared), (2, per_pass)):
                    layer.update.gate = torch.ones(passes, 2 * adapters)
                    module(x)  # stack and fold
                    with Kernels() as base:
                        layer.base(x)
                    with Kernels() as with_update:
                        module(x)
                    assert with_update.count - base.count == extra
