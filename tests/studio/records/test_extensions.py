"""What a record does not know: kept where it came from, told, and never taken for what is known."""

import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lora_loom.pipelines.errors import RecordError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.records.extensions import MAX_TOLD, not_understood
from lora_loom.studio.records.record import GenerationRecord, read_record, save_png
from lora_loom.studio.ui.gallery import restored_notice

OURS = GenerationRecord(
    GenerationRequest("a fox", adapters=(AdapterChoice("styles/ink.v2", 0.5), AdapterChoice("crown"))),
    extensions={"watermark": {"message": [1, 0, 1], "codec": "ring"}},
)


def newer():
    """The record of a picture that a newer Loom made."""
    data = json.loads(json.dumps(OURS.to_dict()))
    data["energy"] = {"joules": 3.5}
    data["request"] |= {"eta": 0.7, "tiles": [2, 2]}
    data["request"]["adapters"][0] |= {"start": 0.25, "region": {"box": [0, 0, 0.5, 1.0], "feather": 3}}
    data["request"]["adapters"][1]["region"] = {"ellipse": [0.5, 0.5]}
    return data


def through_png(data, path):
    info = PngInfo()
    info.add_text("loom", json.dumps({"format": 1, **data}))
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return read_record(path)


def test_parts_add_to_a_record(tmp_path):
    assert read_record(save_png(Image.new("RGB", (8, 8)), OURS, tmp_path / "x.png")) == OURS
    assert OURS.extensions["watermark"]["codec"] == "ring"
    assert not_understood(OURS.extensions) == []
    assert "extensions" not in GenerationRecord(OURS.request).to_dict()


def test_a_picture_of_a_newer_loom_opens_and_nothing_of_it_is_lost(tmp_path):
    record = through_png(newer(), tmp_path / "new.png")
    assert (record.request.prompt, record.request.adapters[0].strength) == ("a fox", 0.5)
    assert record.request.adapters[0].region.box == (0.0, 0.0, 0.5, 1.0)
    assert record.request.adapters[1].region is None  # of a form that we do not know
    written = record.to_dict()
    assert written["request"]["adapters"][0]["region"].pop("everywhere", 1.0) == 1.0
    assert written == newer()
    again = read_record(save_png(Image.new("RGB", (8, 8)), record, tmp_path / "again.png"))
    assert again == record


def test_what_was_not_understood_is_told_and_no_same_picture_is_promised(tmp_path):
    record = through_png(newer(), tmp_path / "new.png")
    assert not_understood(record.extensions) == [
        "energy",
        "request.eta",
        "request.tiles",
        "start of styles/ink.v2",
        "region.feather of styles/ink.v2",
        "region.ellipse of crown",
    ]
    assert not_understood(record.extensions, "record") == ["energy"]
    title, lines = restored_notice(record, [])
    assert "may not come out the same" in title
    assert "energy" in lines[0]


def test_a_request_of_a_newer_loom_is_a_difference(tmp_path):
    from lora_loom.studio.library.adapter_library import AdapterLibrary
    from lora_loom.studio.session import Studio

    data = GenerationRecord(GenerationRequest("a fox")).to_dict()
    data["request"]["eta"] = 0.7
    record = through_png(data, tmp_path / "new.png")
    studio = Studio("pocket", AdapterLibrary([tmp_path]), tmp_path)
    (found,) = studio.differences(record)
    assert "request.eta" in str(found)
    with pytest.raises(RecordError, match="a newer Loom asked for more"):
        studio.reproduce(record)
    title, _ = restored_notice(record, [found])
    assert "cannot be made again" in title


def test_long_and_many_names_are_told_in_short(tmp_path):
    data = GenerationRecord(GenerationRequest("a fox")).to_dict()
    data |= {f"x{k}\x1b[31m" + "y" * 500: 1 for k in range(50)}
    told = not_understood(through_png(data, tmp_path / "x.png").extensions)
    assert told[-1] == "and 30 more"
    assert len(told) == MAX_TOLD + 1
    assert all(len(name) <= 60 and name.isprintable() for name in told)


def test_what_is_known_wins():
    record = GenerationRecord(OURS.request, extensions={"request": {"prompt": "a cat"}, "record": {"seconds": 9}})
    assert record.to_dict()["request"]["prompt"] == "a fox"
    assert record.to_dict()["seconds"] == 0.0


@pytest.mark.parametrize(
    "value",
    [
        [1],
        {"": 1},
        {"a\nb": 1},
        {1: 2},
        {"mark": {1, 2}},
        {"mark": float("nan")},
        {"mark": "x" * 200_000},
        {"request": 1},
    ],
)
def test_extensions_are_json_by_name(value):
    with pytest.raises(RecordError, match="extension"):
        GenerationRecord(OURS.request, extensions=value)


def test_nobody_changes_extensions_afterwards():
    mine = {"mark": {"bits": [1]}}
    record = GenerationRecord(OURS.request, extensions=mine)
    mine["mark"]["bits"].append(2)
    assert record.extensions["mark"] == {"bits": [1]}
    with pytest.raises(TypeError):
        record.extensions["mark"] = 2  # a read-only mapping
