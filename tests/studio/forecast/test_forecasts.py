"""Forecasts of the stack: made once for each state, with titles, and with a line for what cannot be examined."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_loom.pipelines.errors import LoomWarning
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.studio.forecast import forecasts as forecasts_module
from lora_loom.studio.forecast.forecasts import Forecasts
from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.session import Studio

PATH = "unet.down_blocks.1.attentions.0.transformer_blocks.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_lora):
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "owlet.safetensors", title="Owlet", category="character", seed=1)
    write_lora(folder / "crown.safetensors", title="Crown", category="accessory", seed=2, rank=3)
    write_lora(folder / "other.safetensors", title="Owlet", seed=3)
    big = {
        f"{PATH}.attn2.to_k.lora_A.weight": torch.ones(2, 2048),
        f"{PATH}.attn2.to_k.lora_B.weight": torch.ones(640, 2),
    }
    save_file(big, folder / "big.safetensors")
    crown = load_file(folder / "crown.safetensors")
    up = f"{PATH}.attn1.to_q.lora_B.weight"
    save_file(
        {**crown, up.replace("lora_B.weight", "lora_magnitude_vector"): torch.ones(32)}, folder / "dora.safetensors"
    )
    words = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    of_words = {f"{words}.lora_A.weight": torch.ones(2, 16), f"{words}.lora_B.weight": torch.ones(16, 2)}
    save_file(of_words, folder / "words.safetensors")
    return folder


@pytest.fixture
def forecasts(tiny_pocket, folder, tmp_path):
    return Forecasts(Studio(str(tiny_pocket), AdapterLibrary([folder]), tmp_path, device="cpu"))


def chosen(*names, **strengths):
    return [AdapterChoice(name, strengths.get(name, 1.0)) for name in names]


def test_a_forecast_is_made_once_for_each_state(forecasts, monkeypatch):
    loras = chosen("owlet", "crown")
    assert forecasts.known(loras) is None
    assert forecasts.quick(loras)
    found = forecasts.of(loras)
    assert [each.name for each in found.report.adapters] == ["Owlet", "Crown"]
    assert found.names == {"Owlet": "owlet", "Crown": "crown"}
    assert found.report.together.loss_risk is None or found.report.together.loss_risk_from
    monkeypatch.setattr(forecasts, "_examine", None)  # a second examination would fail
    assert forecasts.of(loras) is found
    assert forecasts.known(loras) is found
    assert forecasts.known(chosen("owlet", "crown", crown=0.9)) is None
    assert forecasts.known([AdapterChoice("owlet", blocks={"style": 0.5}), AdapterChoice("crown")]) is None


def test_what_is_forced_after_it_was_refused_is_examined_anew(tiny_pocket, tmp_path, write_lora, write_stranger):
    write_lora(tmp_path / "owlet.safetensors", title="Owlet", seed=1)
    write_stranger(tmp_path / "stranger.safetensors", title="Stranger", seed=2)
    forecasts = Forecasts(Studio(str(tiny_pocket), AdapterLibrary([tmp_path]), tmp_path, device="cpu"))
    refused, owlet = AdapterChoice("stranger"), AdapterChoice("owlet")
    assert any("left out of the forecast" in note for note in forecasts.of([owlet, refused]).notes)
    with pytest.warns(LoomWarning, match="only in part"):
        found = forecasts.of([owlet, AdapterChoice("stranger", forced=True)])
    assert [each.name for each in found.report.adapters] == ["Owlet", "Stranger"]
    assert found.notes == ()


def test_strengths_and_blocks_are_in_it(forecasts):
    whole = forecasts.of(chosen("owlet", "crown")).report.adapters[0]
    half = forecasts.of(chosen("owlet", "crown", owlet=0.5)).report.adapters[0]
    assert half.norm == pytest.approx(whole.norm / 2)
    (part, _) = forecasts.of(
        [AdapterChoice("owlet", blocks={"style": 0.0, "identity": 0.0}), *chosen("crown")]
    ).report.adapters
    assert 0 < part.norm < whole.norm


def test_equal_titles_are_told_apart(forecasts):
    found = forecasts.of(chosen("owlet", "other"))
    assert found.names == {"Owlet": "owlet", "Owlet (2)": "other"}


def test_what_cannot_be_examined_is_a_line(forecasts):
    found = forecasts.of(chosen("owlet", "crown", "big", "gone", "dora"))
    assert len(found.report.pairs) == 1
    assert any("big is left out" in note and "does not fit this base model" in note for note in found.notes)
    assert any("gone is left out" in note and "no LoRA called gone" in note for note in found.notes)
    assert any("dora is a DoRA" in note for note in found.report.notes)
    assert forecasts.of(chosen("owlet", "big")).report is None
    odd = forecasts.of([AdapterChoice("owlet", blocks={"nowhere": 0.5}), *chosen("crown")])
    assert odd.report is None
    assert "nowhere" in odd.notes[0]


def test_one_that_changes_only_the_words(forecasts):
    report = forecasts.of(chosen("owlet", "words")).report
    assert report.adapters[1].norm == 0
    assert report.adapters[1].text_norm > 0
    assert len(report.pairs) == 1


def test_large_files_and_bases_are_not_examined_unasked(forecasts, monkeypatch):
    monkeypatch.setattr(forecasts_module, "QUICK_LORAS", 100)
    assert not forecasts.quick(chosen("owlet", "crown"))
    monkeypatch.setattr(forecasts_module, "QUICK_LORAS", 2**20)
    monkeypatch.setattr(forecasts_module, "QUICK_BASE", 100)
    assert not forecasts.quick(chosen("owlet", "crown"))
    forecasts.of(chosen("owlet", "crown"))  # loads the base
    assert forecasts.quick(chosen("owlet", "crown"))
