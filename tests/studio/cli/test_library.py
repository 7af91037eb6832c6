"""`loom library`: the LoRAs of a folder, and what is in one file, whatever its author wrote into it."""

import json

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from lora_loom.studio import session
from lora_loom.studio.cli.application import build

MODULE = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.fixture
def loom(monkeypatch):
    monkeypatch.setattr(session, "library_roots", lambda folders=(): list(folders))
    return lambda *args: CliRunner().invoke(build(), ["library", *map(str, args)])


@pytest.fixture
def folder(tmp_path):
    tensors = {
        f"{MODULE}.lora_down.weight": torch.ones(4, 768),
        f"{MODULE}.lora_up.weight": torch.ones(320, 4),
        f"{MODULE}.alpha": torch.tensor(2.0),
        "bogus.weight": torch.ones(1),
    }
    save_file(tensors, tmp_path / "ink.safetensors", metadata={"modelspec.title": "Ink \x1b[31mred\x1b[0m"})
    (tmp_path / "bad.safetensors").write_bytes(b"\x80\x02cposix\nsystem\n")
    return tmp_path


def test_the_list_has_every_file_also_a_bad_one(loom, folder):
    lines = loom("list", "--library", folder).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["bad", "ink"]
    assert "not a safetensors file" in lines[0]
    assert "rank 4" in lines[1]


def test_the_list_can_be_searched(loom, folder):
    assert loom("list", "ink", "--library", folder).stdout.startswith("ink")
    assert "bad" not in loom("list", "ink", "--library", folder).stdout
    assert loom("list", "--category", "none", "--library", folder).stdout == ""


def test_the_list_as_json(loom, folder):
    cards = json.loads(loom("list", "--library", folder, "--json").stdout)["adapters"]
    assert [card["name"] for card in cards] == ["bad", "ink"]
    assert cards[1]["rank"] == 4
    assert "\x1b" not in cards[1]["title"]
    assert len(cards[1]["sha256"]) == 64


@pytest.mark.parametrize("by", ["path", "name"])
def test_a_file_is_shown_with_its_losses(loom, folder, by):
    text = loom("show", folder / "ink.safetensors" if by == "path" else "ink", "--library", folder).stdout
    assert "denoiser: 1 module, 1 lora, rank 4, alpha 2, scale 0.5" in text
    assert "bogus.weight: no part of a LoRA" in text
    assert "not everything in it has its effect" in text


def test_the_receipt_as_json(loom, folder):
    receipt = json.loads(loom("show", folder / "ink.safetensors", "--json").stdout)
    assert receipt["base_family"] == "sd15"
    assert receipt["components"]["denoiser"]["scale"] == [0.5, 0.5]
    assert not receipt["complete"]


def test_what_cannot_be_shown_says_why(loom, folder, monkeypatch, subtests):
    cases = [
        ("bad.safetensors", "AdapterFileError"),
        ("none.safetensors", "AdapterFileError"),
        ("inc", "UnknownAdapterError"),
    ]
    for name, kind in cases:
        with subtests.test(name=name, kind=kind):
            monkeypatch.chdir(folder)
            result = loom("show", name, "--library", folder, "--json")
            assert result.exit_code == 2
            assert json.loads(result.stdout)["error"]["type"] == kind
