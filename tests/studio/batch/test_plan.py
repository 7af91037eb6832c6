"""The plan is frozen: the same suite gives the same pictures, anything else another plan, which a folder refuses."""

import hashlib
import json

import pytest

from lora_loom.pipelines.errors import BatchError, SuiteError
from lora_loom.pipelines.request import MAX_IMAGES, MAX_SEED
from lora_loom.studio.batch.folder import open_batch
from lora_loom.studio.batch.plan import plan_batch
from lora_loom.studio.batch.seeds import hashed_seed
from lora_loom.studio.batch.shards import batches, shard_size
from lora_loom.studio.batch.suite import read_suite


def test_the_seed_is_the_hash_of_run_prompt_and_sample():
    digest = hashlib.sha256(b"7|fox|3").digest()
    assert hashed_seed(7, "fox", 3) == int.from_bytes(digest[:8], "big") & MAX_SEED
    seeds = {hashed_seed(run, prompt, k) for run in range(3) for prompt in "abc" for k in range(100)}
    assert len(seeds) == 900
    assert all(0 <= seed <= MAX_SEED - MAX_IMAGES for seed in seeds)


def test_the_grid_is_prompts_by_lora_sets_by_methods_by_samples(plan):
    batch = plan()
    assert len(batch.pictures) == 2 * 2 * 3 * 3
    assert len(batch.by_uid) == len(batch.pictures)
    cells = {
        (p.prompt_id, tuple(p.adapter_sha256), p.request.method, *p.request.settings.values()) for p in batch.pictures
    }
    assert len(cells) == 2 * 2 * 3


def test_all_cells_of_a_prompt_share_their_noise(plan):
    by_sample = {}
    for picture in plan().pictures:
        by_sample.setdefault((picture.prompt_id, picture.sample_index), set()).add(picture.request.seed)
    assert all(len(seeds) == 1 for seeds in by_sample.values())
    assert len({seed for seeds in by_sample.values() for seed in seeds}) == 2 * 3


def test_what_a_row_says_itself_is_not_varied(plan):
    rows = """
samples = 2
lora_sets = [["fox"], ["ink"]]
methods = ["merge", "switch"]
prompts = [
    {prompt = "a", id = "a"},
    {prompt = "b", id = "b", loras = [], method = "merge", seed = 5, expected = {none = true}, mood = "dark"},
    {prompt = "c", id = "c", method = "switch", settings = {switch_every = 3}, seeds = [1, 2, 3], steps = 4},
    {prompt = "d", id = "d", loras = ["ink:0.5"], n = 1},
    {prompt = "e", id = "e", loras = ["fox"], method = "merge", seed = 9, n = 3},
]
[request]
num_inference_steps = [2, 3]
"""
    found = {}
    for picture in plan(rows).pictures:
        found.setdefault(picture.prompt_id, []).append(picture)
    assert {name: len(pictures) for name, pictures in found.items()} == {
        "a": 2 * 2 * 2 * 2,
        "b": 2,
        "c": 2 * 3,
        "d": 2 * 2,
        "e": 2 * 3,
    }
    assert {p.request.seed for p in found["b"]} == {5}
    assert (found["b"][0].expected, found["b"][0].metadata) == ({"none": True}, {"mood": "dark"})
    assert {p.request.num_inference_steps for p in found["c"]} == {4}
    assert {p.request.settings["switch_every"] for p in found["c"]} == {3}
    assert {p.request.adapters[0].strength for p in found["d"]} == {0.5}
    assert {p.request.seed for p in found["e"]} == {9, hashed_seed(0, "e", 1), hashed_seed(0, "e", 2)}


def test_the_uid_names_the_files_and_not_their_names(plan, loras, write_lora, tmp_path):
    text = 'prompts = ["a"]\nlora_sets = [["NAME:1"]]'
    one = plan(text.replace("NAME", "fox"), "one").pictures[0]
    (loras / "hen.safetensors").write_bytes((loras / "fox.safetensors").read_bytes())
    renamed = plan(text.replace("NAME", "hen"), "two").pictures[0]
    other = plan(text.replace("NAME", "ink"), "three").pictures[0]
    (loras / "hen.safetensors").unlink()
    assert one.uid == renamed.uid != other.uid
    assert one.config != other.config


def test_loras_may_be_forced_one_by_one_or_all(plan, loras, tmp_path):
    path = tmp_path / "suite.toml"
    path.write_text('prompts = ["a"]\nlora_sets = [["fox:1", {name = "ink", forced = true}]]\n')
    one = plan_batch(read_suite(path), tmp_path / "one", [loras])
    assert [[each.forced for each in picture.request.adapters] for picture in one.pictures] == [[False, True]]
    every = plan_batch(read_suite(path), tmp_path / "every", [loras], force=True)
    assert [[each.forced for each in picture.request.adapters] for picture in every.pictures] == [[True, True]]


def test_planning_again_changes_nothing_and_another_plan_is_refused(plan):
    first = plan()
    before = (first.folder / "batch.json").read_bytes()
    assert plan().pictures == first.pictures
    assert (first.folder / "batch.json").read_bytes() == before
    with pytest.raises(BatchError, match=r"holds another batch.*36 pictures"):
        plan('prompts = ["another"]')
    assert open_batch(first.folder).pictures == first.pictures


def test_a_plan_that_broke_off_is_made_again(plan):
    first = plan()
    (first.folder / "batch.json").unlink()
    assert plan().pictures == first.pictures


def test_a_folder_with_other_things_is_refused(plan, tmp_path):
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "thesis.tex").write_text("x")
    with pytest.raises(BatchError, match=r"not empty: found thesis\.tex"):
        plan()


def test_a_changed_manifest_is_refused(plan):
    batch = plan()
    path = batch.folder / "manifest.jsonl"
    text = path.read_text()
    path.write_text(text.replace("a red circle", "a red square", 1))
    with pytest.raises(BatchError, match=r"manifest .* has changed since the plan"):
        open_batch(batch.folder)
    path.write_text(text)
    assert open_batch(batch.folder).pictures == batch.pictures


def test_a_folder_without_a_batch_says_how_to_plan_one(tmp_path):
    with pytest.raises(BatchError, match="loom batch plan"):
        open_batch(tmp_path)


def test_what_cannot_be_drawn_is_refused_before_anything_is_written(plan, tmp_path, subtests):
    cases = [
        ('prompts = ["a"]\nlora_sets = [["fxo"]]', "line 1: there is no LoRA called fxo"),
        ('prompts = ["a"]\nmethods = ["mrege"]', "line 1: no fusion method named 'mrege'"),
        ('prompts = ["a"]\nmethods = ["merge", "merge"]', "asks for one picture twice"),
        ('prompts = [{prompt = "a", steps = 0}]', "num_inference_steps is out of range"),
        ('prompts = ["a"]\n[request]\nguidance_scale = "much"', "guidance_scale is out of range"),
    ]
    for text, part in cases:
        with subtests.test(text=text, part=part):
            with pytest.raises(SuiteError) as caught:
                plan(text)
            assert part in str(caught.value)
            assert not (tmp_path / "batch").exists()


def test_a_broken_lora_is_refused(plan, loras):
    (loras / "broken.safetensors").write_bytes(b"no tensors")
    try:
        with pytest.raises(SuiteError, match="the LoRA broken cannot be used"):
            plan('prompts = ["a"]\nlora_sets = [["broken"]]')
    finally:
        (loras / "broken.safetensors").unlink()


def test_the_manifest_is_plain_json_lines(plan):
    batch = plan()
    lines = [json.loads(line) for line in (batch.folder / "manifest.jsonl").read_text().splitlines()]
    assert [line["uid"] for line in lines] == [picture.uid for picture in batch.pictures]


class TestShards:
    def test_they_keep_a_lora_set_together_and_neighbours_share_batches(self, plan):
        batch = plan()
        sets = [tuple(picture.adapter_sha256) for picture in batch.pictures]
        assert sets == sorted(sets, key=sets.index)  # each set once, in one piece
        for pictures in batch.shards.values():
            assert [len(part) for part in batches(pictures, 2)] == [2] * (len(pictures) // 2) + [1] * (
                len(pictures) % 2
            )

    def test_their_size_follows_time_number_and_batch(self):
        assert shard_size(10_000, 2.0, 0) == 60
        assert shard_size(10_000, 2.0, 8) == 56
        assert shard_size(10_000, 0.01, 8) == 256
        assert shard_size(10_000, 500.0, 8) == 8
        assert shard_size(32, 2.0, 0) == 2
        assert shard_size(3, 2.0, 0) == 1

    def test_a_batch_holds_alike_requests_only(self, plan):
        text = 'prompts = ["a", "b", {prompt = "c", negative_prompt = "x"}]\nbatch_size = 8\nsamples = 2'
        for part in batches(plan(text).pictures, 8):
            assert len({bool(picture.request.negative_prompt) for picture in part}) == 1
        assert [len(part) for part in batches(plan(text).pictures, 8)] == [4, 2]
