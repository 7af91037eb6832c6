"""Finding pictures: plain folders, metadata.jsonl, shards; and every way in which they can be wrong."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from lora_loom.pipelines.errors import EvaluationError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.evaluation.pictures import read_pictures
from lora_loom.studio.records.record import GenerationRecord, save_png


def rows(folder, *lines):
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def shard(path, pictures, more=()):
    with tarfile.open(path, "w") as archive:
        for name, data in [
            *((f"{uid}.png", png(colour)) for uid, colour in pictures.items()),
            *((f"{uid}.json", json.dumps({"prompt": f"p {uid}", "seed": 3}).encode()) for uid in pictures),
            *more,
        ]:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def png(colour):
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (colour, 0, 0)).save(file, format="PNG")
    return file.getvalue()


def test_a_plain_folder_is_read_to_its_depths(write_folder):
    folder = write_folder("deep/down", 2).parent
    write_folder("deep", 1)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(b"no picture")
    assert [picture.sample.name for picture in read_pictures(folder).pictures] == [
        "000.png",
        "down/000.png",
        "down/001.png",
    ]


def test_pictures_of_loom_say_their_prompt_themselves(tmp_path):
    request = GenerationRequest("a red owlet", adapters=(AdapterChoice("owlet"),), seed=7, num_images_per_prompt=2)
    record = GenerationRecord(request, seconds=1.5, passes={"full": 20}, image_index=1)
    save_png(Image.new("RGB", (8, 8)), record, tmp_path / "x.png")
    sample = read_pictures(tmp_path).pictures[0].sample
    assert (sample.prompt, sample.seed, sample.row["k"], sample.row["method"]) == ("a red owlet", 8, 1, "merge")


def test_rows_give_prompts_and_what_is_below_metadata(write_folder):
    row = {"prompt": "a", "seed": 4, "loras": [{"name": "x"}, {"name": "y"}], "metadata": {"control": "base"}}
    sample = read_pictures(write_folder("x", 1, rows=[row])).pictures[0].sample
    assert (sample.prompt, sample.seed, sample.cluster, sample.pair_key) == ("a", 4, "a", "a\n4")
    assert (sample.row["k"], sample.row["control"]) == (2, "base")


def test_failed_rows_and_files_without_a_row_are_told(write_folder):
    folder = write_folder("x", 3, rows=[{"prompt": "a"}])
    with (folder / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"uid": "9", "error": "out of memory"}) + "\n")
    found = read_pictures(folder)
    assert len(found) == 1
    assert found.remarks[0].startswith("1 pictures were not made")
    assert "2 files have no row" in found.remarks[1]
    assert "001.png, 002.png" in found.remarks[1]


def test_a_bad_row_is_named_by_its_line(write_folder, subtests):
    cases = [
        ("{", "line 2 of .*metadata.jsonl is not JSON"),
        ("[1]", "line 2 of .*metadata.jsonl is not a JSON object"),
        ('{"prompt": "a"}', "line 2 .* names no picture"),
        ('{"file_name": "nothing.png"}', "line 2 .* names a picture that is not there: found nothing.png"),
        ('{"file_name": "../x.png"}', "line 2 .* points outside the folder"),
        ('{"file_name": "000.png"}', "line 2 .* names 000.png a second time"),
    ]
    for line, complaint in cases:
        with subtests.test(line=line, complaint=complaint):
            folder = write_folder("x", 1)
            rows(folder, '{"file_name": "000.png"}', line)
            with pytest.raises(EvaluationError, match=complaint):
                read_pictures(folder)


def test_an_empty_folder_and_none_at_all(tmp_path):
    with pytest.raises(EvaluationError, match=r"holds no picture: expected files ending in \.png"):
        read_pictures(tmp_path)
    with pytest.raises(EvaluationError, match="is not there"):
        read_pictures(tmp_path / "nowhere")


def test_unreadable_pictures_are_all_named(write_folder):
    folder = write_folder("x", 3)
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"\x89PNG nothing")
    with pytest.raises(EvaluationError, match=r"2 of 5 pictures in .* cannot be read: found a\.png, b\.png"):
        read_pictures(folder).check()


def test_a_picture_that_ends_too_early_is_named(write_folder):
    folder = write_folder("x", 1)
    whole = (folder / "000.png").read_bytes()
    (folder / "000.png").write_bytes(whole[: len(whole) // 2])
    found = read_pictures(folder)
    found.check()
    with pytest.raises(EvaluationError, match=r"000\.png cannot be read as a picture"):
        found.pictures[0].pixels()


def test_mixed_sizes_are_refused_unless_allowed(write_folder):
    folder = write_folder("x", 3)
    Image.new("RGB", (20, 10)).save(folder / "wide.png")
    with pytest.raises(EvaluationError, match=r"have 2 sizes.*3 of 16x16, 1 of 20x10.*--any-size"):
        read_pictures(folder).check()
    assert read_pictures(folder).check(any_size=True) == ((16, 16), (20, 10))


def test_shards_are_read_where_they_lie(tmp_path):
    shard(tmp_path / "00000.tar", {"b": 20, "a": 10})
    shard(tmp_path / "00001.tar", {"c": 30}, [("d.json", b'{"error": "too long"}')])
    (tmp_path / "00000.parquet").write_bytes(b"an index")
    found = read_pictures(tmp_path)
    assert [picture.sample.name for picture in found.pictures] == ["a.png", "b.png", "c.png"]
    assert [int(picture.pixels()[0, 0, 0]) for picture in found.pictures] == [10, 20, 30]
    assert found.pictures[0].pixels().shape == (6, 8, 3)
    assert found.pictures[2].sample.prompt == "p c"
    assert found.remarks == ("1 pictures were not made (rows with an error) and are not in any number",)
    assert len(read_pictures(tmp_path / "00001.tar")) == 1


def test_failures_beside_shards_are_told(tmp_path):
    shard(tmp_path / "00000.tar", {"a": 10})
    (tmp_path / "failed.jsonl").write_text('{"uid": "b", "error": "out of memory"}\n')
    assert read_pictures(tmp_path).remarks == (
        "1 pictures were not made (rows with an error) and are not in any number",
    )


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ([("lost.json", b"{}")], "has rows without pictures: found lost"),
        ([("a.json", b"{")], "a.json in .*00000.tar is not JSON"),
    ],
)
def test_a_shard_that_is_not_whole(tmp_path, more, complaint):
    shard(tmp_path / "00000.tar", {"a": 1}, more)
    with pytest.raises(EvaluationError, match=complaint):
        read_pictures(tmp_path)


def test_a_damaged_shard_and_a_picture_in_two(tmp_path):
    shard(tmp_path / "0.tar", {"a": 1})
    shard(tmp_path / "1.tar", {"a": 1})
    with pytest.raises(EvaluationError, match=r"a\.png is in two shards: found 0\.tar, 1\.tar"):
        read_pictures(tmp_path)
    (tmp_path / "1.tar").write_bytes(b"nothing" * 200)
    with pytest.raises(EvaluationError, match=r"1\.tar cannot be read"):
        read_pictures(tmp_path)


def test_transparency_lies_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "x.png")
    assert np.all(read_pictures(tmp_path).pictures[0].pixels() == 255)
