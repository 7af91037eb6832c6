"""`loom generate` on a real, tiny base: the same pixels again and from the file, and no LoRA silently replaced."""

import json
import shutil

import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_loom.studio import session
from lora_loom.studio.cli.application import build


@pytest.fixture
def loom(monkeypatch, tmp_path, tiny_pocket, write_lora):
    monkeypatch.setattr(session, "library_roots", lambda folders=(): list(folders))
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("owl", "ink")):
        write_lora(tmp_path / "loras" / f"{name}.safetensors", seed=seed)

    def run(*args):
        options = ["--library", "loras", "--json"]
        if "--from" in args and "--base" not in args:
            options += ["--base", str(tiny_pocket)]
        result = CliRunner().invoke(build(), ["generate", *args, *options])
        return json.loads(result.stdout)

    return run


@pytest.fixture
def recipe(tiny_pocket):
    prompt = ["--prompt", "a red cat", "--steps", "3", "--base", str(tiny_pocket)]
    return [*prompt, "--lora", "owl:1", "--lora", "ink:0.8", "--method", "composite", "--seed", "1"]


def pixels(answer):
    return [picture["pixels_sha256"] for picture in answer["pictures"]]


def test_repeated_and_from_the_file_the_pixels_are_the_same(loom, recipe):
    first = loom(*recipe, "--out", "x.png")
    assert first["pictures"][0]["record"]["passes"]
    assert pixels(loom(*recipe, "--out", "y.png")) == pixels(first)
    assert pixels(loom("--from", "x.png", "--out", "z.png")) == pixels(first)


def test_one_picture_of_several_is_made_again(loom, recipe):
    both = pixels(loom(*recipe, "--count", "2", "--out", "x.png"))
    assert len(set(both)) == 2
    assert pixels(loom("--from", "x-2.png", "--out", "z.png")) == both[1:]


def test_methods_and_strengths_change_the_picture(loom, recipe):
    variants = [[], ["--method", "merge"], ["--method", "switch", "--switch-every", "1"], ["--seed", "2"]]
    sums = [pixels(loom(*recipe, *variant, "--out", "x.png"))[0] for variant in variants]
    assert len(set(sums)) == len(variants)


def test_a_changed_lora_is_named(loom, recipe, write_lora, tmp_path):
    loom(*recipe, "--out", "x.png")
    write_lora(tmp_path / "loras" / "ink.safetensors", seed=9)
    error = loom("--from", "x.png", "--out", "z.png")["error"]
    assert error["type"] == "ChangedAdapterError"
    assert "ink" in error["message"]
    assert not (tmp_path / "z.png").exists()


def test_a_missing_lora_is_named(loom, recipe, tmp_path):
    loom(*recipe, "--out", "x.png")
    (tmp_path / "loras" / "ink.safetensors").unlink()
    error = loom("--from", "x.png", "--out", "z.png")["error"]
    assert error["type"] == "UnknownAdapterError"
    assert "ink" in error["message"]


def test_a_changed_base_is_named(loom, recipe, tiny_pocket, tmp_path):
    base = shutil.copytree(tiny_pocket, tmp_path / "base")
    loom(*recipe, "--base", str(base), "--out", "x.png")
    config = base / "unet" / "config.json"
    config.write_text(config.read_text() + "\n")
    error = loom("--from", "x.png", "--base", str(base), "--out", "z.png")["error"]
    assert error["type"] == "BaseModelError"
    assert "has changed" in error["message"]


def test_mistakes_are_named_and_nothing_is_written(loom, recipe, tmp_path, subtests):
    cases = [
        (["--lora", "oul:1"], "UnknownAdapterError"),
        (["--method", "mrege"], "UnknownMethodError"),
        (["--method", "switch", "--switch-every", "0"], "SettingError"),
        (["--method", "switch", "--set", "every=2"], "SettingError"),
        (["--size", "33x32"], "RequestError"),
        (["--scheduler", "nothing"], "RequestError"),
        (["--attention", "xformers"], "RequestError"),
        (["--base", "nowhere"], "BaseModelError"),
    ]
    for options, kind in cases:
        with subtests.test(options=options, kind=kind):
            error = loom(*recipe, *options, "--out", "x.png")["error"]
            assert error["type"] == kind
            assert error["message"]
            assert not list(tmp_path.glob("*.png"))


def test_a_picture_does_not_choose_the_base(loom, recipe, tmp_path, monkeypatch):
    from lora_loom.pipelines import bases
    from lora_loom.pipelines.request import GenerationRequest
    from lora_loom.studio.records.record import GenerationRecord, save_png

    monkeypatch.setattr(bases, "resolve_base", lambda name: pytest.fail(f"{name} was looked up"))
    for name in ("attacker/evil-model", str(tmp_path), "model.safetensors"):
        record = GenerationRecord(GenerationRequest("x", base_model=name))
        save_png(Image.new("RGB", (8, 8)), record, tmp_path / "strange.png")
        for options in ([], ["--seed", "2"], ["--prompt", "y"]):
            command = ["generate", "--from", "strange.png", *options, "--out", "z.png", "--json"]
            error = json.loads(CliRunner().invoke(build(), command).stdout)["error"]
            assert error["type"] == "BaseModelError", (name, options)
            assert "--base" in error["remedy"], (name, options)
