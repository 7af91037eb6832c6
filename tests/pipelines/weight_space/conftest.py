"""Random updates of one layer, linear or convolution, and the dense matrices they stand for."""

from __future__ import annotations

import pytest
import torch

from lora_loom.pipelines.adapters.factors import Adapter, LoraFactors
from lora_loom.pipelines.adapters.receipt import Receipt


@pytest.fixture(scope="session")
def update():
    """Makes random factors: `inputs` is [in] or [in kh kw]; with `shared` they have columns of B in common with it."""

    def make(seed, rank=4, out=24, inputs=(20,), size=1.0, shared=None):
        generator = torch.Generator().manual_seed(seed)
        decay = torch.linspace(1.0, 0.2, rank)
        up = torch.randn(out, rank, generator=generator) * decay * size
        if shared is not None:
            width = min(rank, shared.rank)
            up[:, :width] = up[:, :width] * 0.5 + shared.up[:, :width] * size
        down = torch.randn(rank, *inputs, generator=generator)
        return LoraFactors(down, up)

    return make


@pytest.fixture(scope="session")
def regauged():
    """The same update by other factors: (B G^-1, G A)."""

    def change(factors, seed=99):
        g = torch.randn(factors.rank, factors.rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        g = torch.linalg.qr(g).Q * torch.linspace(0.5, 3.0, factors.rank, dtype=torch.float64)
        up = factors.up.double() @ torch.linalg.inv(g)
        down = (g @ factors.down.double().flatten(1)).reshape(factors.down.shape)
        return LoraFactors(down.float(), up.float())

    return change


@pytest.fixture(scope="session")
def dense():
    """The update as a float64 matrix [m n], a convolution's kernel flattened."""

    def matrix(factors):
        return factors.up.double() @ factors.down.double().flatten(1)

    return matrix


@pytest.fixture(scope="session")
def close():
    """Whether two matrices agree within a share of the second one's Frobenius norm."""

    def compare(found, expected, tolerance=1e-6):
        return float((found - expected).norm()) <= tolerance * max(float(expected.norm()), 1e-12)

    return compare


@pytest.fixture(scope="session")
def adapter():
    """An adapter of layers given by path, those under `encoder.` in its text encoder."""

    def make(name, layers):
        receipt = Receipt(name, f"sha of {name}", "peft", "pocket", "made for a test", "pocket", {})
        denoiser = {path: factors for path, factors in layers.items() if not path.startswith("encoder.")}
        encoder = {path: factors for path, factors in layers.items() if path.startswith("encoder.")}
        return Adapter(name, denoiser, {"text_encoder": encoder} if encoder else {}, receipt, f"sha of {name}", {})

    return make
