"""`loom doctor`: sentences, JSON and page, for LoRAs by name and by file, and clear words for what does not fit."""

import json

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from lora_loom.pipelines.forecast.report import Report
from lora_loom.studio import session
from lora_loom.studio.cli.application import build


@pytest.fixture
def loom(monkeypatch, tiny_pocket, write_lora, tmp_path):
    monkeypatch.setattr(session, "library_roots", lambda folders=(): [tmp_path / "loras"])
    write_lora(tmp_path / "loras" / "fox.safetensors", category="character")
    write_lora(tmp_path / "loras" / "ink.safetensors", seed=1, rank=3)
    write_lora(tmp_path / "twin.safetensors")
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(build(), ["doctor", "--base", str(tiny_pocket), *map(str, args)])


def test_json_is_the_report(loom):
    done = loom("fox:0.8", "ink", "--json")
    assert done.exit_code == 0, done.output
    report = Report.from_dict(json.loads(done.stdout))
    assert [(each.name, each.strength) for each in report.adapters] == [("fox", 0.8), ("ink", 1.0)]
    assert len(report.pairs) == 1
    assert report.together is not None


def test_twins_by_name_and_by_file_are_the_same(loom):
    done = loom("fox", "twin.safetensors", "fox")
    assert done.exit_code == 0, done.output
    assert "fox and twin are the same" in done.stdout
    assert "fox (2)" in done.stdout
    assert "Leave out" in done.stdout


def test_the_page_is_whole_and_escapes_names(loom, tmp_path, write_lora):
    write_lora(tmp_path / "loras" / "<b>&.safetensors", seed=3)
    done = loom("fox", "<b>&", "ink", "--against-base", "--html", "doctor.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "doctor.html").read_text()
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    assert page.count('class="strip"') == 3
    assert "src=" not in page
    assert "http" not in page
    assert "safe up to" in page


def test_one_alone(loom):
    done = loom("fox", "--json")
    assert json.loads(done.stdout)["pairs"] == []


def test_another_base_is_an_error(loom, tmp_path):
    path = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {f"{path}.lora_A.weight": torch.ones(2, 2048), f"{path}.lora_B.weight": torch.ones(640, 2)}
    save_file(tensors, tmp_path / "big.safetensors")
    done = loom("fox", "big.safetensors", "--json")
    assert done.exit_code == 2
    assert "does not fit this base model" in done.stdout


def test_what_fits_of_another_bases_lora_is_examined_by_force(loom, tmp_path, write_stranger):
    write_stranger(tmp_path / "stranger.safetensors", seed=2)
    refused = loom("fox", "stranger.safetensors")
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    done = loom("fox", "stranger.safetensors", "--force", "--json")
    assert done.exit_code == 0, done.output
    assert [each["name"] for each in json.loads(done.stdout)["adapters"]] == ["fox", "stranger"]
    assert "stranger.safetensors acts only in part" in done.stderr
