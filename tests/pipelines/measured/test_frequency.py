"""Contributions are split by the radius of their frequencies, once per adapter, right for every size."""

import json

import pytest
import torch

from lora_loom.pipelines.measured import frequency
from lora_loom.pipelines.measured.frequency import FrequencyProfile, bands, profile_of, sets_of

BROAD = FrequencyProfile((0.1, 0.9), (4.0, 8.0), (1.0, 1.0))
FINE = FrequencyProfile((0.1, 0.9), (1.0, 1.0), (3.0, 5.0))
LOUD_AND_FINE = FrequencyProfile((0.1, 0.9), (2.0, 1.0), (6.0, 5.0))


def test_bands_keep_all_energy(subtests):
    for size in [(16, 16), (16, 40), (9, 7)]:
        with subtests.test(size=size):
            deltas = torch.randn(2, 3, *size)
            low, high = bands(deltas)
            assert torch.allclose(low + high, deltas.square().sum(dim=(-2, -1)), rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (24, 40)])
def test_a_wave_is_in_the_band_of_its_radius(rows, columns):
    """The largest radius is a corner's, so the cut lies at 0.1 of the diagonal in cycles per picture."""
    cut = 0.2 * (rows**2 + columns**2) ** 0.5 / 2
    for cycles in (1, int(cut), int(cut) + 1, columns // 2 - 1):
        wave = torch.cos(2 * torch.pi * cycles * torch.arange(columns) / columns).expand(rows, columns)
        low, high = bands(wave)
        assert (high > low) == (cycles >= cut)
        assert min(low, high) <= 1e-4 * max(low, high)


def test_the_widest_gap_splits_and_dominance_orders():
    profiles = {"fine": FINE, "broad": BROAD, "loud": LOUD_AND_FINE}
    assert BROAD.high_share == pytest.approx(2 / 14)
    sets = sets_of(profiles, None, switch_at=0.55)
    assert (sets.high, sets.low) == (("loud", "fine"), ("broad",))


def test_adapters_alike_are_all_high():
    sets = sets_of({"b": FINE, "a": FINE}, None, switch_at=0.55)
    assert (sets.high, sets.low) == (("a", "b"), ())


def test_a_person_overrides_the_split_and_not_the_order():
    sets = sets_of({"fine": FINE, "broad": BROAD, "loud": LOUD_AND_FINE}, ["loud", "fine"], switch_at=0.55)
    assert (sets.high, sets.low) == (("broad",), ("fine", "loud"))


@pytest.fixture
def nothing_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(frequency, "_measured", {})
    monkeypatch.setenv("LOOM_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_a_profile_is_measured_once_and_kept(pipe, adapters, nothing_measured, monkeypatch, draw):
    before = draw(pipe)
    profile = profile_of(pipe, adapters["fox"])
    assert len(profile.progress) == frequency.STEPS
    assert list(profile.progress) == sorted(profile.progress)
    assert min(profile.low + profile.high) > 0
    assert torch.equal(draw(pipe), before)

    monkeypatch.setattr(frequency, "_measured", {})
    monkeypatch.setattr(frequency, "measure", lambda pipe, adapter: pytest.fail("measured twice"))
    assert profile_of(pipe, adapters["fox"]) == profile

    (kept,) = nothing_measured.rglob("*.json")
    kept.write_text(json.dumps({"progress": [1], "low": [], "high": "x"}))
    monkeypatch.setattr(frequency, "_measured", {})
    monkeypatch.setattr(frequency, "measure", lambda pipe, adapter: profile)
    assert profile_of(pipe, adapters["fox"]) == profile


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_memory(pipes, three_adapters, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LOOM_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(frequency, "_measured", {})
    monkeypatch.setattr(frequency, "measure", lambda pipe, adapter: FINE)
    assert profile_of(pipes("sd15"), three_adapters("sd15")["ink"]) == FINE


def test_another_base_of_the_same_kind_is_measured_anew(pipes, three_adapters, nothing_measured, monkeypatch):
    pipe, fox = pipes("sd15"), three_adapters("sd15")["fox"]
    met = []
    monkeypatch.setattr(frequency, "measure", lambda pipe, adapter: met.append(adapter.name) or FINE)
    weight = pipe.unet.conv_in.weight
    kept = weight.detach().clone()
    profile_of(pipe, fox)
    with torch.no_grad():
        try:
            weight += 0.5
            profile_of(pipe, fox)
        finally:
            weight.copy_(kept)
    profile_of(pipe, fox)
    assert met == ["fox", "fox"]


def test_progress_is_counted_in_steps(pipes, three_adapters, nothing_measured):
    profile = profile_of(pipes("sd15"), three_adapters("sd15")["ink"])
    assert profile.progress == tuple(step / frequency.STEPS for step in range(frequency.STEPS))
