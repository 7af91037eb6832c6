"""`loom generate`: what is drawn, what is written, what is said; the drawing itself is a stand-in here."""

import json
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from lora_loom.pipelines.errors import ChangedAdapterError, LoomWarning, UnknownAdapterError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio import session
from lora_loom.studio.cli.application import build
from lora_loom.studio.records.record import GenerationRecord, read_record, save_png

OLD = GenerationRecord(
    request=GenerationRequest(
        "a fox", adapters=(AdapterChoice("ink"), AdapterChoice("gone")), num_images_per_prompt=3, seed=10
    ),
    adapter_sha256={"ink": "a" * 64, "gone": "b" * 64},
    attention="eager",
    image_index=2,
)


class StandIn:
    """Draws one flat colour per seed; knows `ink` only, and changed it if told to."""

    sha256, partial = "a" * 64, ""

    def __init__(
        self, base_model="pocket", library=None, output_dir=None, *, attention="default", influence=True, force=False
    ):
        self.base_model, self.attention, self.output_dir = base_model, attention, StandIn.folder
        self.force = force

    def generate(self, request, on_step=None, cancelled=None, *, save=True):
        generations = []
        if self.partial:
            said = f"{self.partial} acts only in part: 1 module of denoiser, 2 ignored"
            warnings.warn(f"{said}{', by force' if self.force else ''}", LoomWarning, stacklevel=1)
        for index in range(request.num_images_per_prompt):
            on_step(SimpleNamespace(index=0, num_inference_steps=1))
            record = GenerationRecord(request=request, image_index=index, attention=self.attention)
            image = Image.new("RGB", (8, 8), ((request.seed + index) % 256, 0, 0))
            path = save_png(image, record, self.output_dir / f"{index}.png") if save else None
            generations.append(session.Generation(image, record, path))
        return generations

    def reproduce(self, record, on_step=None, cancelled=None, *, save=True):
        for name, sha256 in record.adapter_sha256.items():
            if name != "ink":
                raise UnknownAdapterError(f"there is no LoRA called {name}")
            if sha256 != self.sha256:
                raise ChangedAdapterError(f"the LoRA {name} has changed since the picture was made")
        return self.generate(record.request, on_step, cancelled, save=save)


@pytest.fixture
def loom(monkeypatch, tmp_path):
    monkeypatch.setattr(StandIn, "folder", tmp_path / "outputs", raising=False)
    monkeypatch.setattr(session, "Studio", StandIn)
    monkeypatch.setattr(session, "library_roots", lambda folders=(): list(folders))
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(build(), ["generate", *map(str, args)])


@pytest.fixture
def old_picture(tmp_path):
    def make(record=OLD):
        return save_png(Image.new("RGB", (8, 8)), record, tmp_path / "old.png")

    return make


def pictures(result):
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["pictures"]


def test_the_picture_and_its_record_are_saved_and_told(loom, tmp_path):
    [picture] = pictures(loom("--prompt", "a fox", "--lora", "ink:0.5", "--seed", 7, "--out", "x.png", "--json"))
    record = read_record(tmp_path / "x.png")
    assert record.request == GenerationRequest("a fox", adapters=(AdapterChoice("ink", 0.5),), seed=7)
    assert (picture["path"], picture["seed"], picture["width"]) == ("x.png", 7, 8)
    assert GenerationRecord.from_dict(picture["record"]) == record


def test_equal_pixels_have_an_equal_sum(loom):
    [one], [two], [other] = (pictures(loom("a fox", "--seed", seed, "--out", "x.png", "--json")) for seed in (1, 1, 2))
    assert one["pixels_sha256"] == two["pixels_sha256"] != other["pixels_sha256"]


def test_several_pictures_are_numbered(loom):
    found = pictures(loom("a fox", "--count", 2, "--out", "x.png", "--json"))
    assert [picture["path"] for picture in found] == ["x-1.png", "x-2.png"]
    assert [picture["seed"] for picture in found] == [0, 1]


def test_without_out_the_studio_names_the_file(loom, tmp_path):
    result = loom("a fox")
    assert result.stdout.strip() == str(tmp_path / "outputs" / "0.png")


def test_from_makes_that_one_picture_of_its_run(loom, old_picture):
    record = replace(OLD, adapter_sha256={"ink": "a" * 64})
    [picture] = pictures(loom("--from", old_picture(record), "--out", "new.png", "--json"))
    assert (picture["seed"], picture["record"]["image_index"]) == (12, 2)
    assert picture["record"]["request"] == OLD.request.to_dict()
    assert picture["record"]["attention"] == "eager"


def test_from_with_options_varies_that_one_picture(loom, old_picture):
    [picture] = pictures(loom("--from", old_picture(), "--lora", "ink:0.3", "--out", "new.png", "--json"))
    request = GenerationRequest.from_dict(picture["record"]["request"])
    assert request == GenerationRequest("a fox", adapters=(AdapterChoice("ink", 0.3),), seed=12)


def test_what_a_newer_loom_recorded_is_told_and_no_part_of_a_variation(loom, old_picture):
    newer = replace(OLD, adapter_sha256={}, extensions={"record": {"energy": 1}, "request": {"eta": 0.7}})
    result = loom("--from", old_picture(newer), "--seed", 3, "--out", "new.png", "--json")
    assert "A newer Loom recorded more than this one knows: energy, request.eta." in result.stderr
    [picture] = pictures(result)
    assert "eta" not in picture["record"]["request"]


def test_a_missing_lora_is_named_and_nothing_is_written(loom, old_picture, tmp_path):
    result = loom("--from", old_picture(), "--out", "new.png")
    assert result.exit_code == 2
    assert "no LoRA called gone" in result.stderr
    assert not (tmp_path / "new.png").exists()


@pytest.mark.parametrize("options", [(), ("--seed", "3")])
def test_a_changed_lora_is_named(loom, old_picture, options):
    record = replace(OLD, adapter_sha256={"ink": "c" * 64})
    result = loom("--from", old_picture(record), "--out", "new.png", *options)
    assert result.exit_code == 2
    assert "ink has changed" in result.stderr


def test_mistakes_are_told_before_drawing(loom, tmp_path, subtests):
    cases = [
        (("a", "--prompt", "b"), "given twice"),
        (("",), "prompt is empty"),
        (("a", "--out", "x.jpg"), "ends in .png"),
        (("a", "--size", "64"), "--size"),
        (("a", "--lora", "ink:much"), "name:strength"),
        (("a", "--steps", "0"), "num_inference_steps"),
        (("a", "--set", "x"), "key=value"),
        (("--from", "none.png"), "none.png cannot be read"),
    ]
    for args, words in cases:
        with subtests.test(args=args, words=words):
            result = loom(*args)
            assert result.exit_code == 2
            assert words in result.stderr
            assert list(tmp_path.iterdir()) == []


def test_what_of_a_prompt_is_not_read_is_said_beside_the_result(loom):
    result = loom("a (fox:1.3)", "--json")
    assert pictures(result)
    assert "(fox:1.3): weights of words are not read yet" in result.stderr
    assert not loom("a fox", "--json").stderr


def test_a_path_is_a_lora_where_a_person_types_it(loom, tmp_path, old_picture):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save_file({"unet.x.lora_A.weight": torch.ones(2, 2)}, tmp_path / folder / "both.safetensors")
    typed = ["--lora", "./a/both.safetensors:0.5", "--lora", tmp_path / "b" / "both.safetensors"]
    result = loom("a fox", *typed, "--lora-blocks", "./a/both.safetensors:style=0", "--json")
    adapters = pictures(result)[0]["record"]["request"]["adapters"]
    assert adapters == [
        {"name": "a/both", "strength": 0.5, "blocks": {"style": 0.0}},
        {"name": "b/both", "strength": 1.0},
    ]
    assert "there is no LoRA file" in loom("a fox", "--lora", "gone.safetensors").output


def test_a_lora_that_acts_only_in_part_is_told_beside_the_output(loom, monkeypatch):
    monkeypatch.setattr(StandIn, "partial", "fox\x1b.safetensors")
    for flags, said in (((), "2 ignored\n"), (("--force",), "2 ignored, by force\n")):
        result = loom("a fox", "--json", *flags)
        assert result.exit_code == 0
        assert f"loom: fox.safetensors acts only in part: 1 module of denoiser, {said}" in result.stderr
        assert len(json.loads(result.stdout)["pictures"]) == 1
