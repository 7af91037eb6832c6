"""Gates that are not neutral, over the layers of a pipeline."""

import pytest
import torch

from lora_loom.pipelines.gating.gate_file import new_gate
from lora_loom.pipelines.gating.layer_map import LayerMap
from tests.pipelines.conftest import UNLIKE


@pytest.fixture(params=UNLIKE)
def family(request):
    """Families that differ in kind: the contract of methods runs gates on all."""
    return request.param


@pytest.fixture(scope="session")
def loud_gate():
    """Makes a gate of a pipeline with random weights everywhere, so that it opens and shuts plainly."""

    def make(pipe, kind="rank", seed=0, text_width=32):
        model = getattr(pipe, "unet", None) or pipe.transformer
        gate = new_gate(kind, LayerMap.of(model), text_width, hidden=8)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for value in gate.parameters():
                value.copy_(torch.randn(value.shape, generator=generator))
        return gate.requires_grad_(False)

    return make
