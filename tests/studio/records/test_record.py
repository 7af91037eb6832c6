"""A record survives its PNG; what a stranger put there instead is refused in words."""

import dataclasses
import json
import struct
import zlib

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lora_loom.pipelines.errors import OutputError, RecordError
from lora_loom.pipelines.gating.heat_map import HeatMap
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.records.png_text import MAX_TEXT_BYTES, SIGNATURE
from lora_loom.studio.records.record import GenerationRecord, read_record, save_png

REQUEST = GenerationRequest(
    'a fox, 狐 "quoted"\nsecond line',
    adapters=(AdapterChoice("kitsune", 0.8),),
    method="switch",
    settings={"switch_every": 3},
    num_images_per_prompt=2,
    seed=5,
)
RECORD = GenerationRecord(
    request=REQUEST,
    adapter_sha256={"kitsune": "0f" * 32},
    base_model_revision="abc",
    package_versions={"torch": "2.14.1", "lora-loom": "0.1.0"},
    device="cpu",
    dtype="float32",
    seconds=1.5,
    passes={"full": 20},
    peak_memory_bytes=10**9,
    influence={"kitsune": {"overall": 0.21, "steps": [[1, 0.2], [10, 0.22]]}},
    cost={"predicted": 1.25, "spent": 1.2},
    gates=HeatMap(
        "soft", ("down 0.0", "up 1.0"), (0.0, 0.5), ("kitsune",), (((1.0,), (0.5,)), ((None,), (None,)))
    ).to_dict(),
    created_at="2026-11-23T05:00:00+00:00",
    image_index=1,
)


@pytest.fixture
def image():
    return Image.new("RGB", (48, 64), (200, 80, 40))


def png_with(image, path, **texts):
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    image.save(path, pnginfo=info)
    return path


def record_text(**changes):
    return json.dumps({"format": 1, **RECORD.to_dict(), **changes})


def chunk(kind, data):
    return struct.pack(">I4s", len(data), kind) + data + struct.pack(">I", zlib.crc32(kind + data))


def test_round_trip(image, tmp_path):
    path = save_png(image, RECORD, tmp_path / "x.png")
    assert read_record(path) == RECORD
    assert read_record(path).seed == 6


def test_the_pixels_are_untouched(image, tmp_path):
    with Image.open(save_png(image, RECORD, tmp_path / "x.png")) as saved:
        assert saved.tobytes() == image.tobytes()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_record_survives_other_forms_of_text(image, tmp_path, zipped):
    info = PngInfo()
    info.add_itxt("loom", record_text(), zip=zipped)
    image.save(tmp_path / "x.png", pnginfo=info)
    assert read_record(tmp_path / "x.png") == RECORD


def test_deflated_text_is_read(image, tmp_path):
    info = PngInfo()
    info.add_text("loom", record_text(), zip=True)
    image.save(tmp_path / "x.png", pnginfo=info)
    assert read_record(tmp_path / "x.png") == RECORD


def test_other_programs_find_their_parameters(image, tmp_path):
    with Image.open(save_png(image, RECORD, tmp_path / "x.png")) as saved:
        text = saved.text["parameters"]
    assert text.startswith("a fox, 狐")
    assert "<lora:kitsune:0.8>" in text
    assert "Seed: 6, Size: 48x64" in text


def test_unsound_records_are_refused(image, tmp_path, subtests):
    cases = [
        ({"format": 2}, "another format"),
        ({"extensions": [1]}, "extensions.*no object"),
        ({"extensions": {"": 1}}, "no sound name"),
        ({"extensions": {"request": {"seed": 3}}}, "a name of Loom's own"),
        ({"extensions": {"mark": "x" * 200_000}}, "too large"),
        ({"request": None}, "has no request"),
        ({"request": {"prompt": ""}}, "impossible.*prompt is empty"),
        ({"request": {"prompt": "a", "width": "1; rm -rf"}}, "impossible.*width"),
        ({"adapter_sha256": {"kitsune": "../../etc/passwd"}}, "adapter_sha256"),
        ({"adapter_sha256": ["kitsune"]}, "adapter_sha256"),
        ({"passes": {"full": -1}}, "passes"),
        ({"influence": {"a": {"overall": 0.1}}}, "influence"),
        ({"influence": {"a": {"overall": "much", "steps": []}}}, "influence"),
        ({"influence": {"a": {"overall": 0.1, "steps": [[0]]}}}, "influence"),
        ({"gates": {"gate": "soft"}}, "gates"),
        ({"gates": [1]}, "gates"),
        ({"cost": {"spent": "little"}}, "cost"),
        ({"seconds": -1}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"image_index": 2}, "image_index"),
        ({"device": 3}, "device"),
        ({"package_versions": {"torch": 2}}, "package_versions"),
    ]
    for changes, match in cases:
        with subtests.test(changes=changes, match=match):
            path = png_with(image, tmp_path / "x.png", loom=record_text(**changes))
            with pytest.raises(RecordError, match=match):
                read_record(path)


def test_hostile_json_is_refused(image, tmp_path, subtests):
    cases = [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 200_000, "not JSON"),
        ('{"format": 1, "seconds": NaN}', "NaN as a number"),
        ('{"format": 1, "seconds": ' + "9" * 5000 + "}", "not JSON"),
        ("[1]", "another format"),
        ('"text"', "another format"),
    ]
    for text, match in cases:
        with subtests.test(text=text, match=match):
            path = png_with(image, tmp_path / "x.png", loom=text)
            with pytest.raises(RecordError, match=match):
                read_record(path)


def test_a_text_bomb_is_not_inflated(tmp_path):
    bomb = zlib.compress(b" " * (300 * MAX_TEXT_BYTES), 9)
    path = tmp_path / "x.png"
    path.write_bytes(SIGNATURE + chunk(b"zTXt", b"loom\0\0" + bomb) + chunk(b"IEND", b""))
    with pytest.raises(RecordError, match="too long"):
        read_record(path)


def test_damaged_and_foreign_files_are_refused(tmp_path, subtests):
    cases = [
        (b"", "not a PNG"),
        (b"\xff\xd8\xff\xe0 a JPEG", "not a PNG"),
        (SIGNATURE, "ends before"),
        (SIGNATURE + struct.pack(">I4s", 2**31, b"IDAT"), "ends before"),
        (SIGNATURE + chunk(b"IEND", b""), "does not say how it was made"),
        (SIGNATURE + chunk(b"tEXt", b"loom\0{}") * 2 + chunk(b"IEND", b""), "two loom texts"),
        (SIGNATURE + chunk(b"tEXt", b"loom\0{}")[:-1] + b"\xff" + chunk(b"IEND", b""), "wrong checksum"),
        (SIGNATURE + struct.pack(">I4s", 100, b"tEXt") + b"loom\0{}", "wrong checksum"),
        (SIGNATURE + chunk(b"zTXt", b"loom\0\0no deflate") + chunk(b"IEND", b""), "cannot be decoded"),
        (SIGNATURE + chunk(b"iTXt", b"loom\0\0") + chunk(b"IEND", b""), "cannot be decoded"),
        (SIGNATURE + chunk(b"iTXt", b"loom\0\0\0\0\0\xff\xff") + chunk(b"IEND", b""), "cannot be decoded"),
    ]
    for content, match in cases:
        with subtests.test(content=content, match=match):
            path = tmp_path / "x.png"
            path.write_bytes(content)
            with pytest.raises(RecordError, match=match):
                read_record(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecordError, match=r"none\.png cannot be read"):
        read_record(tmp_path / "none.png")


def test_a_full_disk_leaves_the_old_picture(image, tmp_path, monkeypatch):
    path = save_png(image, RECORD, tmp_path / "x.png")
    before = path.read_bytes()

    def no_space(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", no_space)
    with pytest.raises(OutputError, match=r"x\.png could not be written: found No space left"):
        save_png(image, RECORD, path)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("x.png", before)]


def test_the_record_is_frozen_data():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECORD.seconds = 2.0
    with pytest.raises(TypeError):
        RECORD.passes["full"] = 1


def test_a_picture_keeps_what_it_was_drawn_with_when_a_setting_is_added():
    """Pictures of CMLoRA from before `contributions` were drawn by the mean."""
    old = GenerationRecord(GenerationRequest("a fox", method="cmlora", settings={"interval": 2})).to_dict()
    assert GenerationRecord.from_dict(old).request.settings == {"contributions": "mean", "interval": 2}
    new = GenerationRecord(GenerationRequest("a fox", method="cmlora", settings={"contributions": "sum"})).to_dict()
    assert GenerationRecord.from_dict(new).request.settings == {"contributions": "sum"}
