"""Counts against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from lora_loom.studio.bench.counting import count, peak_bytes


def count_kernels(call):
    return count(call).kernels


def count_flops(call):
    return count(call).flops


def test_a_linear_layer_is_one_kernel_and_views_are_none():
    linear, x = nn.Linear(4, 3, device="meta"), torch.zeros(2, 5, 4, device="meta")
    assert count_kernels(lambda: linear(x)) == 1
    assert count_kernels(lambda: x.view(10, 4).t().expand(4, 10)[:2].detach()) == 0
    assert count_kernels(lambda: torch.empty_like(x)) == 0


def test_writing_into_place_is_counted():
    y, a, b = torch.zeros(10, 3), torch.zeros(10, 4), torch.zeros(4, 3)
    assert count_kernels(lambda: y.addmm_(a, b)) == 1
    assert count_flops(lambda: y.addmm_(a, b)) == count_flops(lambda: torch.addmm(y, a, b)) == 2 * 10 * 4 * 3
    y, a, b = torch.zeros(2, 10, 3), torch.zeros(2, 10, 4), torch.zeros(2, 4, 3)
    assert count_flops(lambda: y.baddbmm_(a, b)) == count_flops(lambda: torch.baddbmm(y, a, b)) == 2 * 2 * 10 * 4 * 3


def test_the_peak_is_of_what_lives_at_once():
    def one_after_the_other() -> None:
        for _ in range(3):
            torch.empty(100, device="meta")

    def together() -> list[torch.Tensor]:
        return [torch.empty(100, device="meta") for _ in range(3)]

    assert peak_bytes(one_after_the_other) == 400
    assert peak_bytes(together) == 1200


def test_views_and_what_was_there_before_cost_nothing():
    x = torch.empty(100, device="meta")
    assert peak_bytes(lambda: x.view(10, 10).mul_(2)[3:]) == 0
    assert peak_bytes(lambda: x * 2) == 400
    assert peak_bytes(lambda: torch.empty(100)) == 0  # on the host


@pytest.mark.parametrize("counted", [count_kernels, count_flops, peak_bytes])
def test_a_count_does_not_depend_on_the_one_before(counted):
    x = torch.empty(8, 8, device="meta")
    assert counted(lambda: x @ x + x) == counted(lambda: x @ x + x) > 0
