"""`loom train gate` on a tiny base: from pictures and LoRAs to a gate that draws, and its refusals."""

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.gating.gate_file import load_gate
from lora_loom.pipelines.training.captions import has_word
from lora_loom.pipelines.training.gate_items import items_by_trigger
from lora_loom.pipelines.training.items import TrainingItem
from lora_loom.studio.cli.application import build
from lora_loom.studio.testbed.gate_pictures import composed_caption, composed_pictures, side_of, tuning_sets
from lora_loom.studio.testbed.sets import frozen_sets

QUICK = ("--steps", "2", "--batch-size", "2", "--hidden", "4", "--device", "cpu")


@pytest.fixture
def loom(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *args: CliRunner().invoke(build(), list(map(str, args)))


@pytest.fixture
def loras(tmp_path, write_lora):
    for seed, name in enumerate(("fox", "wood", "ring")):
        write_lora(tmp_path / "loras" / f"{name}.safetensors", triggers=name, seed=seed)
    return tmp_path / "loras"


@pytest.fixture
def folder(tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name, words in (
        ("a", "a fox with a ring"),
        ("b", "a fox in a wood"),
        ("c", "a cat"),
    ):
        Image.new("RGB", (40, 32), "red").save(pictures / f"{name}.png")
        (pictures / f"{name}.txt").write_text(words)
    return pictures


@pytest.mark.long
def test_captions_tell_who_is_shown_and_the_gate_draws(loom, loras, folder, tiny_pocket, tmp_path):
    files = [loras / f"{name}.safetensors" for name in ("fox", "wood", "ring")]
    (folder / "c.png").unlink()
    result = loom("train", "gate", *files, "--data", folder, "--base", tiny_pocket, "--out", "g.safetensors", *QUICK)
    assert result.exit_code == 0, result.output
    assert "2 sets, 2 steps" in result.stdout
    assert load_gate(tmp_path / "g.safetensors").metadata["sets"] == "fox + ring; fox + wood"
    drawn = loom(
        *("generate", "a fox with a ring <lora:fox> <lora:ring>", "--library", loras, "--base", tiny_pocket),
        *("--method", "gated", "--gated-gate", "g.safetensors", "--steps", "2", "--out", "a.png"),
    )
    assert drawn.exit_code == 0, drawn.output
    again = loom("train", "gate", *files, "--data", folder, "--base", tiny_pocket, "--out", "g.safetensors", *QUICK)
    assert again.exit_code == 2
    assert "g.safetensors exists" in again.stderr


def test_a_teacher_needs_no_composed_pictures(loom, loras, folder, tiny_pocket):
    how = ("--objective", "teacher", "--teacher", "delta_sum", "--library", loras, "--base", tiny_pocket)
    result = loom("train", "gate", "fox", "ring", "--data", folder, "--out", "t.safetensors", *how, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["num_sets"], answer["num_pictures"]) == (1, 3)


def test_pictures_without_company_are_named(loom, loras, folder, tiny_pocket):
    result = loom(
        *("train", "gate", "fox", "ring", "--data", folder, "--library", loras, "--base", tiny_pocket),
        *("--out", "t.safetensors", *QUICK),
    )
    assert result.exit_code == 2
    assert "2 pictures show fewer than two" in result.stderr
    assert "b.png" in result.stderr


@pytest.mark.long
def test_the_pocket_world_draws_its_tuning_sets(loom, loras, tiny_pocket, tmp_path):
    members = next(each.members for each in frozen_sets() if each.part == "tuning" and each.k == 2)
    for name in members:
        (loras / f"{name}.safetensors").write_bytes((loras / "fox.safetensors").read_bytes())
    how = ("--library", loras, "--base", tiny_pocket, "--count", "2", "--out", "w.safetensors", "--json")
    result = loom("train", "gate", *(loras / f"{name}.safetensors" for name in members), *how, *QUICK)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_pictures"] == 2
    assert load_gate(tmp_path / "w.safetensors").metadata["sets"] == " + ".join(members)
    nothing = loom("train", "gate", loras / f"{members[0]}.safetensors", *how[:-3], "--out", "n.safetensors", *QUICK)
    assert "no set of the pocket world" in nothing.stderr


def test_composed_pictures_show_and_name_every_concept():
    names = ("owlet", "crown", "neon", "forest", "cake")
    items = list(composed_pictures([names], 3, seed=1, size=32))
    assert [each.adapters for each in items] == [names] * 3
    for each in items:
        assert all(has_word(each.item.captions[0], name) for name in names)
        assert each.item.picture.size == (32, 32)
    same = list(composed_pictures([names], 3, seed=1, size=32))
    assert [each.item.captions for each in same] == [each.item.captions for each in items]
    assert same[0].item.picture.tobytes() == items[0].item.picture.tobytes()


def test_tuning_sets_are_not_test_sets():
    every = sorted({name for each in frozen_sets() for name in each.members})
    found = tuning_sets(every)
    assert {len(names) for names in found} == {2, 3, 4}
    assert not {each.members for each in frozen_sets() if each.part == "test"} & set(found)
    scene = next(each for each in frozen_sets() if each.members == found[0])
    assert composed_caption(found[0], scene.scene) == scene.prompt


def test_the_side_of_a_base(tiny_pocket):
    assert side_of(tiny_pocket) == 32


def test_a_lora_without_a_word_cannot_be_seen_in_captions():
    item = TrainingItem(Image.new("RGB", (8, 8)), ("a cat",), "cat.png")
    with pytest.raises(TrainingError, match="ink has no trigger word"):
        list(items_by_trigger([item], {"fox": "fox", "ink": ""}))
    mixed = list(items_by_trigger([item] * 4, {"fox": "fox", "ink": "inky", "owl": "owl"}, mix=True))
    assert [len(each.adapters) for each in mixed] == [2, 3, 2, 3]
    assert mixed[0].item.captions == ("a cat, fox, inky",)
