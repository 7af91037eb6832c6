"""The audit finds whatever is not as it was planned and drawn."""

import json

import pytest
from PIL import Image

from lora_loom.studio.batch.audit import audit
from lora_loom.studio.batch.layouts import layout_of
from lora_loom.studio.batch.layouts.layout import sealed_rows

TEXT = 'prompts = ["one", "two", "three"]\nsamples = 2\n'


@pytest.fixture
def done(plan, work):
    batch = work(plan(TEXT))
    layout_of(batch).finish()
    assert audit(batch).passed
    return batch


def problems(batch):
    return [(problem.kind, problem.what) for problem in audit(batch).problems if problem.kind != "stale"]


def picture_file(batch, index=0):
    return layout_of(batch).picture_path(batch.pictures[index].uid)


def test_a_picture_that_is_gone(done):
    picture_file(done).unlink()
    assert problems(done) == [
        ("missing", f"{done.pictures[0].uid}: {picture_file(done).relative_to(done.folder)} is gone")
    ]


def test_a_picture_that_is_cut_off(done):
    path = picture_file(done)
    path.write_bytes(path.read_bytes()[:-60])
    assert [kind for kind, _ in problems(done)] == ["unreadable"]


def test_a_picture_whose_pixels_changed(done):
    Image.new("RGB", (16, 16), (1, 2, 3)).save(picture_file(done))
    assert [kind for kind, _ in problems(done)] == ["changed"]


def test_two_pictures_that_were_swapped(done):
    one, two = picture_file(done, 0), picture_file(done, 1)
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    assert [kind for kind, _ in problems(done)] == ["changed", "changed"]


def test_files_that_no_one_planned(done):
    (done.folder / "images" / "stray.png").write_bytes(b"x")
    assert problems(done) == [("stray", "images/stray.png")]


def test_a_shard_that_is_missing_and_one_that_is_there_twice(done):
    path = done.sealed_shard(0)
    count = len(path.read_text().splitlines())
    text = path.read_text()
    path.write_text(text + text)
    assert problems(done) == [("duplicate", f"{p.uid} has 2 rows") for p in done.shards[0]]
    path.unlink()
    assert [kind for kind, _ in problems(done)] == ["missing"] * count


def test_a_row_that_was_edited(done):
    path = done.sealed_shard(0)
    row = json.loads(path.read_text().splitlines()[0])
    path.write_text(path.read_text().replace(f'"seed": {row["seed"]}', '"seed": 1', 1))
    assert problems(done) == [("changed", f"{row['uid']}: seed is not as planned")]


def test_a_batch_that_is_not_drawn_yet_is_missing(plan):
    batch = plan(TEXT)
    assert [kind for kind, _ in problems(batch)] == ["missing"] * 6
    assert audit(batch).sound == 0


def test_a_row_of_another_batch(done):
    row = next(sealed_rows(done)) | {"uid": "f" * 24}
    with done.sealed_shard(0).open("a") as file:
        file.write(json.dumps(row) + "\n")
    assert problems(done) == [("unknown", f"{'f' * 24} is in no plan")]


def test_rows_that_were_not_gathered(done):
    path = done.folder / "metadata.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert [problem.kind for problem in audit(done).problems] == ["stale"]
    layout_of(done).finish()
    assert audit(done).passed
