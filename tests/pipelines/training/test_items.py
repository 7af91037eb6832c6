"""Reading a folder: what is accepted, and what each complaint names."""

import json

import pytest
from PIL import Image

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.items import TrainingItem, as_items, read_folder


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (4, 4), "red").save(tmp_path / name)
    return tmp_path


def write_rows(folder, *rows):
    (folder / "metadata.jsonl").write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))


def test_captions_come_from_the_text_files_in_the_order_of_names(folder):
    (folder / "a.txt").write_text("a red\n  square \n", encoding="utf-8-sig")
    (folder / "b.caption").write_text("another")
    items = read_folder(folder)
    assert [(item.name, item.captions) for item in items] == [("a.jpg", ("a red square",)), ("b.png", ("another",))]


def test_a_row_of_metadata_wins_over_a_text_file(folder):
    (folder / "a.txt").write_text("from the text file")
    write_rows(folder, {"file_name": "a.jpg", "text": "from the row"}, "", {"file_name": "b.png", "text": "b"})
    assert [item.captions for item in read_folder(folder)] == [("from the row",), ("b",)]


def test_a_row_may_name_a_file_in_a_sub_folder(folder):
    (folder / "more").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "more" / "c.png")
    write_rows(folder, *({"file_name": name, "text": "x"} for name in ("a.jpg", "b.png", "more/c.png")))
    assert [item.name for item in read_folder(folder)] == ["a.jpg", "b.png", "more/c.png"]


def test_all_pictures_without_a_caption_are_named(folder):
    with pytest.raises(TrainingError, match=r"2 of 2 pictures.*a\.jpg, b\.png.*metadata\.jsonl"):
        read_folder(folder)


def test_a_default_caption_stands_in(folder):
    (folder / "a.txt").write_text("its own")
    assert [item.captions for item in read_folder(folder, default_caption="any")] == [("its own",), ("any",)]


def test_an_empty_folder_says_what_it_looked_for(tmp_path):
    (tmp_path / "notes.md").write_text("no picture")
    (tmp_path / "._hidden.png").write_text("what a Mac leaves behind")
    with pytest.raises(TrainingError, match=r"holds no picture.*\.png.*1 other"):
        read_folder(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"nowhere is not a folder"):
        read_folder(tmp_path / "nowhere")


def test_a_bad_row_is_named_by_its_number(folder, subtests):
    cases = [
        ('{"file_name": "a.jpg"', "row 2 .* is not JSON"),
        ({"file_name": "a.jpg"}, "row 2 .* is incomplete"),
        ({"file_name": "a.jpg", "text": 3}, "row 2 .* is incomplete"),
        ('["a.jpg", "text"]', "row 2 .* is incomplete"),
        ({"file_name": "gone.png", "text": "x"}, "row 2 .* not there"),
        ({"file_name": "../a.jpg", "text": "x"}, "row 2 .* outside the folder"),
        ({"file_name": "b.png", "text": "x"}, r"row 2 .* names b\.png a second time"),
    ]
    for row, complaint in cases:
        with subtests.test(row=row, complaint=complaint):
            write_rows(folder, {"file_name": "b.png", "text": "good"}, row)
            with pytest.raises(TrainingError, match=complaint):
                read_folder(folder)


def test_a_caption_that_is_not_utf8_is_named(folder):
    (folder / "a.txt").write_bytes(b"\xff\xfe\x00caption")
    with pytest.raises(TrainingError, match=r"a\.txt is not UTF-8"):
        read_folder(folder)


def test_pairs_in_memory_may_have_several_captions():
    picture = Image.new("RGB", (4, 4))
    items = as_items([(picture, "one"), (picture, ["one", "two"]), TrainingItem(picture, ("three",), "named")])
    assert [item.captions for item in items] == [("one",), ("one", "two"), ("three",)]


def test_a_pair_without_a_caption_is_named_by_its_place(subtests):
    for captions in ["", " ", [], ["fine", ""]]:
        with subtests.test(captions=captions), pytest.raises(TrainingError, match="picture 0 has no caption"):
            as_items([(Image.new("RGB", (4, 4)), captions)])


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(TrainingError, match="nothing to train on"):
        as_items([])
