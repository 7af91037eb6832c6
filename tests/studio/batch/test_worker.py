"""A worker draws what is missing, once; what cannot be drawn is told by its row and stops nothing else."""

import errno
import json
import os
from collections import Counter

import pytest
import torch

from lora_loom.pipelines.errors import ChangedAdapterError, OutputError, RequestError
from lora_loom.studio.batch.audit import audit
from lora_loom.studio.batch.folder import open_batch
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.layouts.layout import sealed_rows
from lora_loom.studio.batch.lease import claim
from lora_loom.studio.batch.running import forget_failures

PROMPTS = 'prompts = ["one", "two", "three", "four", "five", "six"]\nbatch_size = 3\n'
ONE_SHARD = 'prompts = ["one"]\nseeds = [1, 2]\nmethods = ["merge"]\nbatch_size = 8\n'


def rows(batch):
    return {row["uid"]: row for row in sealed_rows(batch)}


def failed(batch):
    return {row["prompt"]: row for row in sealed_rows(batch) if "error" in row}


def test_everything_is_drawn_once_and_the_audit_passes(plan, work):
    batch = work(plan())
    layout_of(batch).finish()
    assert audit(batch).passed
    assert [row["uid"] for row in sealed_rows(batch)] == [picture.uid for picture in batch.pictures]
    lines = (batch.folder / "metadata.jsonl").read_text().splitlines()
    assert len(lines) == len(batch.pictures)
    assert not (batch.folder / "failed.jsonl").exists()
    assert list(batch.parts.iterdir()) == []


def test_a_row_says_all_that_is_known(plan, work, loras):
    text = (
        'prompts = [{prompt = "a", expected = {shape = "star"}, mood = "dark"}]\nlora_sets = [["fox:0.5"]]\nseeds = [7]'
    )
    batch = work(plan(text))
    (row,) = sealed_rows(batch)
    (picture,) = batch.pictures
    expected = {
        "uid": picture.uid,
        "prompt": "a",
        "seed": 7,
        "config": picture.config,
        "method": "merge",
        "expected": {"shape": "star"},
        "metadata": {"mood": "dark"},
        "seconds": 0.1,
        "passes": {"full": 2},
        "attempt": 1,
        "batch_size": 1,
        "width": 16,
        "file_name": f"images/{picture.uid[:2]}/{picture.uid}.png",
    }
    assert expected.items() <= row.items()
    assert row["loras"] == [{"name": "fox", "strength": 0.5, "sha256": picture.adapter_sha256["fox"]}]
    assert {"versions", "device", "dtype", "pixels_sha256", "worker", "created_at", "base_model_revision"} <= row.keys()


def test_a_second_worker_finds_nothing_to_do(plan, work, flat_studio):
    work(plan())
    flat_studio.drawn.clear()
    work(plan())
    assert flat_studio.drawn == []


def test_batches_are_as_large_as_asked(plan, work, flat_studio):
    work(plan(PROMPTS + "samples = 32"))
    assert Counter(map(len, flat_studio.drawn)) == {3: 64}


def test_memory_that_runs_out_halves_the_batch_for_good(plan, work, flat_studio):
    def before(requests):
        if len(requests) > 2:
            raise torch.OutOfMemoryError("too many")

    flat_studio.before = before
    batch = work(plan('prompts = ["one"]\nsamples = 320\nbatch_size = 8'))
    assert Counter(map(len, flat_studio.drawn)) == {2: 160}
    assert {row["batch_size"] for row in rows(batch).values()} == {2}


@pytest.mark.long
def test_a_picture_too_large_for_the_memory_is_told(plan, work, flat_studio):
    flat_studio.before = lambda requests: (_ for _ in ()).throw(torch.OutOfMemoryError("24 GiB"))
    batch = work(plan(ONE_SHARD))
    assert [row["error"]["type"] for row in sealed_rows(batch)] == ["OutOfMemoryError"] * 2


def test_a_poison_row_is_isolated_and_recorded(plan, work, flat_studio):
    def before(requests):
        if any(request.prompt == "four" for request in requests):
            raise ValueError("it is four")

    flat_studio.before = before
    batch = work(plan(PROMPTS))
    layout_of(batch).finish()
    assert list(failed(batch)) == ["four"]
    assert failed(batch)["four"]["error"] == {"type": "ValueError", "what": "it is four", "message": "it is four"}
    assert failed(batch)["four"]["attempts"] == 3
    outcome = audit(batch)
    assert [problem.kind for problem in outcome.problems] == ["failed"]
    assert (outcome.sound, outcome.pictures) == (5, 6)
    assert len((batch.folder / "metadata.jsonl").read_text().splitlines()) == 5
    assert json.loads((batch.folder / "failed.jsonl").read_text())["prompt"] == "four"

    flat_studio.before = lambda requests: None
    assert forget_failures(batch) == 1
    work(batch)
    layout_of(batch).finish()
    assert audit(batch).passed
    assert not (batch.folder / "failed.jsonl").exists()


def test_a_request_that_the_base_refuses_is_not_tried_again(plan, work, flat_studio):
    asked = []

    def before(requests):
        asked.append(requests)
        raise RequestError("this base cannot draw a width of 7")

    flat_studio.before = before
    batch = work(plan('prompts = ["one"]'))
    assert len(asked) == 1
    assert failed(batch)["one"]["error"]["type"] == "RequestError"


def test_what_passes_by_itself_is_tried_again(plan, work, flat_studio):
    answers = iter([RuntimeError("busy"), None])

    def before(requests):
        if (error := next(answers)) is not None:
            raise error

    flat_studio.before = before
    assert not failed(work(plan('prompts = ["one"]')))


def test_a_full_disk_stops_the_run_and_loses_nothing(plan, work, monkeypatch):
    batch, link, count = plan(PROMPTS), os.link, iter(range(100))

    def full(source, target):
        if next(count) >= 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return link(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(OutputError, match="No space left"):
            work(batch)
    kept = len(list((batch.folder / "images").rglob("*.png")))
    assert 0 < kept < 6
    assert audit(work(batch)).passed


def test_a_lora_that_changed_stops_the_run(plan, work, loras, write_lora, flat_studio):
    batch = plan('prompts = ["one"]\nlora_sets = [["fox"]]')
    before = (loras / "fox.safetensors").read_bytes()
    try:
        write_lora(loras / "fox.safetensors", seed=5)
        with pytest.raises(ChangedAdapterError, match="LoRA fox has changed since the plan"):
            work(batch)
    finally:
        (loras / "fox.safetensors").write_bytes(before)
    flat_studio.library.scan()
    assert audit(work(batch)).passed


def test_a_drain_keeps_what_was_begun_and_releases_the_shard(plan, work, flat_studio):
    batch = plan(ONE_SHARD.replace("[1, 2]", "[1, 2, 3, 4]").replace("8", "2"))
    asked = []

    def stop():
        asked.append(len(flat_studio.drawn))
        return len(flat_studio.drawn) >= 1

    work(batch, stop=stop)
    assert len(flat_studio.drawn) == 1
    assert len(list((batch.folder / "images").rglob("*.png"))) == 2
    assert claim(batch, 0) is not None or batch.is_sealed(0)


def test_who_is_fenced_off_stops_and_leaves_the_rest(plan, work, flat_studio):
    batch = plan('prompts = ["one"]\nseeds = [1, 2, 3, 4]\nbatch_size = 1\npicture_seconds = 0.001')
    batch = open_batch(batch.folder)
    taken = []

    def before(requests):
        if not taken:
            taken.append(put_later_epoch(batch, 0))

    flat_studio.before = before
    work(batch, stop=lambda: len(flat_studio.drawn) >= 3)
    by_shard = Counter(batch.by_uid[path.stem].shard for path in (batch.folder / "images").rglob("*.png"))
    assert by_shard[0] <= 1  # the picture it had begun


def put_later_epoch(batch, shard):
    path = batch.leases / f"{shard:05d}.000002"
    path.write_bytes((batch.leases / f"{shard:05d}.000001").read_bytes())
    return path


@pytest.mark.parametrize("layout", ["folder", "webdataset"])
def test_what_died_before_sealing_is_sealed_without_drawing(plan, work, flat_studio, monkeypatch, layout):
    from lora_loom.studio.batch.layouts.layout import Layout

    batch = plan(f'layout = "{layout}"\n{PROMPTS}')

    def die(self, shard):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Layout, "seal", die)
        with pytest.raises(KeyboardInterrupt):
            work(batch)
    first = sum(map(len, flat_studio.drawn))
    flat_studio.drawn.clear()
    done = work(batch)
    assert audit(done).passed
    assert sum(map(len, flat_studio.drawn)) == 6 - first
