"""Intruder counts against full decompositions, and the strength up to which there are none."""

import pytest
import torch

from lora_loom.pipelines.forecast.base_spectra import BaseSpectra, base_spectrum
from lora_loom.pipelines.forecast.intruders import MOST, IntruderProbe
from lora_loom.pipelines.weight_space.canonical import canonical


def dense_intruders(weight, delta, strength, kept=None):
    u_0 = torch.linalg.svd(weight.double())[0][:, :kept]
    u = torch.linalg.svd(weight.double() + strength * delta.double())[0][:, :10]
    return int(((u_0.T @ u).abs().amax(dim=0) < 0.5).sum())


def decaying(m, n, seed):
    """A matrix with the spectrum of a trained layer, values falling as 1 / (k + 3)."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.linalg.qr(torch.randn(m, m, generator=generator))[0]
    v = torch.linalg.qr(torch.randn(n, n, generator=generator))[0]
    k = min(m, n)
    return (u[:, :k] * (4.0 / (torch.arange(k) + 3))) @ v[:, :k].T


def test_as_many_as_a_full_decomposition_finds(factors, subtests):
    for shape in [(48, 40), (160, 96), (300, 340)]:
        for strength in [0.0, 0.1, 0.3, 1.0, 4.0]:
            with subtests.test(shape=shape, strength=strength):
                weight = decaying(*shape, seed=3)
                update = factors(shape, 4, 5, scale=1 / 80)
                probe = IntruderProbe(weight, base_spectrum(weight), canonical(update))
                assert probe.intruders(strength) == dense_intruders(weight, update.delta(), strength, kept=64)
                exact = torch.linalg.svdvals(weight + strength * update.delta())[0]
                assert probe.sigma(strength) == pytest.approx(float(exact), rel=1e-4)


def test_the_cases_above_have_intruders_and_have_none(factors):
    weight, update = decaying(160, 96, seed=3), factors((160, 96), 4, 5, scale=1 / 80)
    counts = [dense_intruders(weight, update.delta(), strength) for strength in (0.1, 4.0)]
    assert counts[0] == 0
    assert counts[1] >= 3


def test_safe_strength_is_where_they_begin(factors):
    weight, update = decaying(160, 96, seed=3), factors((160, 96), 4, 5, scale=1 / 80)
    probe = IntruderProbe(weight, base_spectrum(weight), canonical(update))
    safe = probe.safe_strength()
    assert 0.0 < safe < MOST
    assert dense_intruders(weight, update.delta(), safe) == 0
    assert dense_intruders(weight, update.delta(), safe + MOST / 64) > 0
    assert probe.safe_strength(sign=-1.0) == pytest.approx(safe, rel=0.5)


def test_an_update_within_the_leading_directions_is_safe(factors):
    weight = decaying(60, 50, seed=3)
    u, _, vh = torch.linalg.svd(weight)
    update = factors((60, 50), 3, 0)
    update.up.copy_(u[:, :3]), update.down.copy_(vh[:3])
    assert IntruderProbe(weight, base_spectrum(weight), canonical(update)).safe_strength() is None


def test_large_weights_are_searched_and_small_ones_decomposed():
    large = decaying(300, 340, seed=1)
    found, again = base_spectrum(large), base_spectrum(large)
    u, s, _ = torch.linalg.svd(large)
    assert torch.equal(found.u, again.u)
    torch.testing.assert_close(found.s[:32], s[:32], rtol=1e-3, atol=0)
    assert ((found.u[:, :10] * u[:, :10]).sum(0).abs() > 0.999).all()
    assert found.norm == pytest.approx(float(large.norm()), rel=1e-5)


def test_spectra_are_kept_and_a_broken_file_is_not_trusted(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Conv2d(4, 6, 3))
    file = tmp_path / "cache" / "spectra.safetensors"
    first = BaseSpectra({"denoiser": model}, file)
    found = {path: first.of("denoiser", path) for path in ("0", "1")}
    first.keep()
    assert found["1"].v.shape == (36, 6)
    with torch.no_grad():
        model[0].weight.zero_()  # so that only the file can know
    again = BaseSpectra({"denoiser": model}, file).of("denoiser", "0")
    torch.testing.assert_close(again.u, found["0"].u, rtol=1e-2, atol=1e-3)
    assert again.norm == pytest.approx(found["0"].norm)
    file.write_bytes(b"nonsense")
    assert BaseSpectra({"denoiser": model}, file).of("denoiser", "0").norm == 0.0
