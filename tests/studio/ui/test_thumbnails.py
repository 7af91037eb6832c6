"""Thumbnails: made anew under limits, and none for what is no sound picture."""

from PIL import Image, PngImagePlugin

from lora_loom.studio.ui import thumbnails
from lora_loom.studio.ui.thumbnails import thumbnail


def test_a_picture_is_made_small_once_without_its_metadata(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("secret", "text")
    Image.new("RGB", (400, 200), "red").save(tmp_path / "a.png", pnginfo=info)
    small = thumbnail(tmp_path / "a.png", tmp_path / "kept", 100)
    with Image.open(small) as image:
        assert (image.format, image.size) == ("WEBP", (100, 50))
        assert "secret" not in image.info
    made = small.stat().st_mtime_ns
    assert thumbnail(tmp_path / "a.png", tmp_path / "kept", 100) == small
    assert small.stat().st_mtime_ns == made


def test_a_changed_picture_gets_a_new_thumbnail(tmp_path):
    Image.new("RGB", (10, 10), "red").save(tmp_path / "a.png")
    first = thumbnail(tmp_path / "a.png", tmp_path / "kept", 100)
    Image.new("RGB", (20, 20), "blue").save(tmp_path / "a.png")
    assert thumbnail(tmp_path / "a.png", tmp_path / "kept", 100) != first


def test_no_thumbnail_of_what_is_no_picture(tmp_path, subtests):
    cases = [b"", b"<svg onload=x>", b"<html>", b"\x89PNG\r\n\x1a\n broken", b"GIF89a" + b"\0" * 50]
    for content in cases:
        with subtests.test(content=content):
            (tmp_path / "a.png").write_bytes(content)
            assert thumbnail(tmp_path / "a.png", tmp_path / "kept", 100) is None
            assert not (tmp_path / "kept").exists()


def test_no_thumbnail_of_a_picture_that_is_too_large(tmp_path, monkeypatch):
    Image.new("RGB", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(thumbnails, "MAX_PIXELS", 5_000)
    assert thumbnail(tmp_path / "a.png", tmp_path / "kept", 100) is None
    monkeypatch.setattr(thumbnails, "MAX_FILE_BYTES", 10)
    assert thumbnail(tmp_path / "a.png", tmp_path / "kept", 50) is None
    assert thumbnail(tmp_path / "missing.png", tmp_path / "kept", 50) is None
