"""No speed without the same result."""

import pytest
import torch

from lora_loom.pipelines.errors import LoomError
from lora_loom.studio.bench.agreement import require_agreement

ONES = torch.ones(3)


def test_equal_and_effective_passes():
    require_agreement(ONES * (1 + 1e-6), ONES, without=torch.zeros(3))


def test_another_result_is_refused():
    with pytest.raises(LoomError, match="disagree"):
        require_agreement(ONES * (1 + 1e-4), ONES, without=torch.zeros(3))


def test_not_a_number_is_refused():
    with pytest.raises(LoomError, match="disagree"):
        require_agreement(ONES * float("nan"), ONES, without=torch.zeros(3))


def test_adapters_without_effect_are_refused():
    with pytest.raises(LoomError, match="no effect"):
        require_agreement(ONES, ONES, without=ONES * 1.001)
