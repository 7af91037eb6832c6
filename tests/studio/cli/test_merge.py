"""`loom merge`: the file, what is in its header, and clear words where there is nothing to merge."""

import json

import pytest
from safetensors import safe_open
from typer.testing import CliRunner

from lora_loom.studio import session
from lora_loom.studio.cli.application import build


@pytest.fixture
def loom(monkeypatch, tiny_pocket, write_lora, tmp_path):
    monkeypatch.setattr(session, "library_roots", lambda folders=(): [tmp_path / "loras"])
    write_lora(tmp_path / "loras" / "fox.safetensors", metadata={"modelspec.trigger_phrase": "fox"})
    write_lora(tmp_path / "loras" / "ink.safetensors", seed=1, rank=3, metadata={"modelspec.trigger_phrase": "ink"})
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(build(), ["merge", "--base", str(tiny_pocket), *map(str, args)])


def test_the_file_says_what_it_was_made_of(loom, tmp_path):
    done = loom("fox:0.8", tmp_path / "loras" / "ink.safetensors", "--out", "one.safetensors", "--rank", "4", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["method"] == "stack"
    assert 0.0 < said["error"] < 0.5
    assert said["groups"][0]["rank"] == 4
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        header = file.metadata()
    sources = json.loads(header["merged_from"])
    assert [(each["name"], each["strength"], len(each["sha256"])) for each in sources] == [
        ("fox", 0.8, 64),
        ("ink", 1.0, 64),
    ]
    assert json.loads(header["loom.recipe"])["rank"] == 4
    assert json.loads(header["loom.merge_error"])["error"] == said["error"]
    assert header["modelspec.trigger_phrase"] == "fox, ink"
    assert header["modelspec.merged_from"] == "fox, ink"


def test_a_method_with_its_own_flag_and_kohya_names(loom, tmp_path):
    done = loom(
        "fox", "ink", "--method", "lion", "--lion-orthogonality", "1", "--format", "kohya", "--out", "x.safetensors"
    )
    assert done.exit_code == 0, done.output
    assert "fox 1 + ink 1, lion" in done.stdout
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert all(key.startswith("lora_unet_") for key in file.keys())  # noqa: SIM118 - no mapping
        assert json.loads(file.metadata()["loom.recipe"])["settings"]["orthogonality"] == 1.0


def test_the_rank_of_svd_and_lego_is_that_of_the_file(loom):
    for method in ("svd", "lego"):
        said = json.loads(
            loom("fox", "ink", "--method", method, "--rank", 4, "--out", f"{method}.safetensors", "--json").stdout
        )
        assert said["recipe"]["settings"]["rank"] == 4
        assert said["groups"][0]["rank"] == 4
        assert said["change"] > 0.01


def test_what_cannot_be_merged_is_said_and_nothing_is_written(loom, tmp_path, subtests):
    cases = [
        (["fox", "fox", "--out", "one.safetensors"], "fox was given twice"),
        (["fox:0", "--out", "one.safetensors"], "nothing to merge"),
        (["foxy", "--out", "one.safetensors"], "Did you mean fox?"),
        (["fox:much", "--out", "one.safetensors"], "name:strength"),
        (["fox", "ink", "--method", "switch", "--out", "one.safetensors"], "cannot be written into one file"),
        (["fox", "--method", "stick", "--out", "one.safetensors"], "no fusion method named 'stick'"),
        (["fox", "--dare-density", "0.5", "--out", "one.safetensors"], "a setting of dare"),
        (["fox", "--out", "one.bin"], "ending in .safetensors"),
        (["missing.safetensors", "--out", "one.safetensors"], "missing.safetensors"),
    ]
    for args, words in cases:
        with subtests.test(args=args, words=words):
            done = loom(*args)
            assert done.exit_code == 2
            assert words in done.stderr
            assert not (tmp_path / "one.safetensors").exists()


def test_a_file_is_not_replaced_unasked(loom, tmp_path):
    assert loom("fox", "--out", "one.safetensors").exit_code == 0
    before = (tmp_path / "one.safetensors").read_bytes()
    assert "exists" in loom("ink", "--out", "one.safetensors").stderr
    assert (tmp_path / "one.safetensors").read_bytes() == before
    assert loom("ink", "--out", "one.safetensors", "--overwrite").exit_code == 0
    assert (tmp_path / "one.safetensors").read_bytes() != before
