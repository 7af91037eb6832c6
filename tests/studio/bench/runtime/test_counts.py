"""What the runtime adds to a call is exact: two kernels per layer, PEFT's arithmetic, no new graph."""

import pytest

from lora_loom.studio.bench.runtime import kernels, memory
from lora_loom.studio.bench.runtime.graphs import EVENTS, loom_graphs, peft_graphs
from lora_loom.studio.bench.subjects import SDXL, TEXT_TOKENS, TINY, attention_linears

READS = 4  # of single numbers, where the run stands


@pytest.mark.parametrize(("adapters", "rank"), [(1, 1), (8, 16)])
@pytest.mark.long
def test_two_kernels_per_layer_whatever_the_number_of_adapters(mini, adapters, rank):
    layers = len(list(attention_linears(mini.build("meta"))))
    found = kernels.counts(mini, adapters, rank)
    assert found.loom.kernels - found.base.kernels <= 2 * layers + READS
    assert found.loom_new_gates.kernels - found.base.kernels <= 3 * layers + READS + 1
    assert found.peft.kernels - found.base.kernels == 4 * adapters * layers
    assert found.loom.flops <= found.peft.flops


def test_no_arithmetic_is_left_out(mini):
    found = kernels.counts(mini, adapters=2, rank=1)  # small beside the channels, so that it is worth two products
    assert found.loom.flops == found.loom_new_gates.flops == found.peft.flops
    tokens = {mini.latent_size**2 // 4, TEXT_TOKENS}  # of the picture and of the text
    sizes = [linear.in_features + linear.out_features for _, linear in attention_linears(mini.build("meta"))]
    per_token = 2 * 2 * sum(sizes)  # two adapters of rank 1, a multiply-add as two
    assert min(tokens) * per_token < found.loom.flops - found.base.flops < max(tokens) * per_token


@pytest.mark.long
def test_gates_make_no_new_graphs(one_block):
    found = loom_graphs(one_block, EVENTS)
    assert found.pop("warm-up") == 1
    assert found == dict.fromkeys(EVENTS, 0)


@pytest.mark.long
def test_residents_that_are_not_active_take_their_own_bytes(mini):
    assert memory.extra_memory(mini).one_active <= 1.1


@pytest.mark.slow
def test_sdxl_holds_the_lines():
    found = kernels.counts(SDXL)
    base = found.base.kernels
    assert found.loom.kernels <= found.loom_new_gates.kernels <= 1.70 * base < 8 * base < found.peft.kernels
    assert found.loom.flops <= 1.05 * found.base.flops


@pytest.mark.slow
def test_peft_makes_new_graphs_where_loom_makes_none():
    assert sum(loom_graphs(TINY, EVENTS).values()) == 1
    assert sum(peft_graphs(TINY, EVENTS).values()) > 1
