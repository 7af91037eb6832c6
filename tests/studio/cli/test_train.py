"""`loom train lora` on a tiny base: from a folder or a concept to a LoRA that the library shows, and its refusals."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_loom.studio.cli import training_progress
from lora_loom.studio.cli.application import build
from lora_loom.studio.library.adapter_library import AdapterLibrary

QUICK = ("--steps", "2", "--batch-size", "2", "--rank", "2", "--sample-steps", "2", "--device", "cpu")


@pytest.fixture
def loom(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(build(), ["train", "lora", *map(str, args)])


@pytest.fixture
def folder(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("red", "blue"):
        Image.new("RGB", (40, 32), name).save(pictures / f"{name}.png")
        (pictures / f"{name}.txt").write_text(f"a {name} cat")
    return pictures


@pytest.mark.long
def test_a_folder_becomes_a_lora_of_the_library(loom, folder, tiny_pocket, tmp_path):
    words = ("--title", "Cats", "--category", "animals", "--tag", "cat", "--tag", "pet", "--trigger", "cat")
    result = loom("--data", folder, "--base", tiny_pocket, "--out", "loras/cats.safetensors", *QUICK, *words)
    assert result.exit_code == 0, result.output
    assert "2 pictures" in result.stdout
    (card,) = [card for card in AdapterLibrary([tmp_path / "loras"]).cards() if card.path.stem == "cats"]
    assert (card.title, card.category, card.trigger, card.tags) == ("Cats", "animals", "cat", ("cat", "pet"))
    assert (card.base_family, card.rank, card.preview_path.name) == ("pocket", 2, "cats.preview.png")


@pytest.mark.long
def test_a_concept_brings_its_description_and_recipe(loom, tiny_pocket, tmp_path):
    result = loom("--concept", "owlet", "--count", "3", "--base", tiny_pocket, "--out", "owlet.safetensors", *QUICK)
    assert result.exit_code == 0, result.output
    notes = json.loads((tmp_path / "owlet.json").read_text())
    assert (notes["category"], notes["activation text"]) == ("character", "owlet")
    settings = json.loads((tmp_path / "owlet.training" / "settings.json").read_text())
    assert (settings["targets"], settings["steps"]) == ("full", 2)


def test_the_result_is_json_and_nothing_else(loom, folder, tiny_pocket):
    result = loom("--data", folder, "--base", tiny_pocket, "--out", "x.safetensors", *QUICK, "--json")
    answer = json.loads(result.stdout)
    assert (answer["path"], answer["steps"], answer["num_pictures"]) == ("x.safetensors", 2, 2)


def test_lists_are_given_one_by_one(loom, folder, tiny_pocket, tmp_path):
    templates = ("--template", "{caption}", "--template", "a drawing of {caption}")
    assert loom("--data", folder, "--base", tiny_pocket, "--out", "x.safetensors", *QUICK, *templates).exit_code == 0
    settings = json.loads((tmp_path / "x.training" / "settings.json").read_text())
    assert settings["templates"] == ["{caption}", "a drawing of {caption}"]


@pytest.mark.long
def test_a_lora_is_not_lost_by_accident(loom, folder, tiny_pocket):
    arguments = ("--data", folder, "--base", tiny_pocket, "--out", "x.safetensors", *QUICK)
    assert loom(*arguments).exit_code == 0
    refused = loom(*arguments)
    assert refused.exit_code == 2
    assert "x.safetensors exists" in refused.stderr
    assert loom(*arguments, "--overwrite").exit_code == 0
    longer = loom(*arguments[: -len(QUICK)], *QUICK, "--steps", "3", "--resume", "--json")
    assert json.loads(longer.stdout)["resumed_at"] == 2


def test_ctrl_c_says_how_to_go_on(loom, folder, tiny_pocket, monkeypatch):
    def stopped(*args, on_step, **options):
        from lora_loom.pipelines.training.lora import TrainingStep

        on_step(TrainingStep(1, 2, 0.5, 1e-4, 1.0, 1.0, 1.0))
        raise KeyboardInterrupt

    monkeypatch.setattr("lora_loom.pipelines.training.lora.train_lora", stopped)
    result = loom("--data", folder, "--base", tiny_pocket, "--out", "x.safetensors", *QUICK, "--json")
    assert result.exit_code == training_progress.INTERRUPTED
    error = json.loads(result.stdout)["error"]
    assert error["what"] == "the training was stopped after step 1 of 2"
    assert "--resume" in error["remedy"]


def test_bad_input_is_a_clear_error(loom, folder, subtests):
    cases = [
        ((), "either --data FOLDER or --concept NAME"),
        (("--data", "pictures", "--concept", "owlet"), "either --data FOLDER or --concept NAME"),
        (("--concept", "unicorn"), "no concept 'unicorn'"),
        (("--data", "nowhere"), "nowhere is not a folder"),
        (("--data", "pictures", "--rank", "0"), "rank is out of range"),
        (("--data", "pictures", "--base", "nowhere"), "no base model 'nowhere'"),
    ]
    for arguments, complaint in cases:
        with subtests.test(arguments=arguments, complaint=complaint):
            result = loom(*arguments, "--out", "x.safetensors", "--json")
            assert result.exit_code == 2
            assert complaint in json.loads(result.stdout)["error"]["message"]


def test_stopped_run_is_not_lost_by_accident(loom, folder, tmp_path):
    (tmp_path / "x.training").mkdir()
    (tmp_path / "x.training" / "latest.checkpoint").touch()
    result = loom("--data", folder, "--out", "x.safetensors")
    assert result.exit_code == 2
    assert "holds a stopped run" in result.stderr
