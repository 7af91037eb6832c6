"""PicturesOnly: pictures of Loom are served as pictures, everything else is not there."""

import os

import pytest
from PIL import Image

from lora_loom.pipelines.request import GenerationRequest
from lora_loom.studio.records.record import GenerationRecord, save_png
from lora_loom.studio.ui.doors.served_files import PicturesOnly, picture_type


@pytest.fixture
def folders(tmp_path):
    for name in ("outputs", "thumbnails", "uploads"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def client(folders, behind):
    return behind(PicturesOnly, [folders / "outputs"], folders / "thumbnails", folders / "uploads")


def fetched(client, path):
    return client.get(f"/gradio_api/file={path}")


def picture(path):
    return save_png(Image.new("RGB", (8, 8)), GenerationRecord(GenerationRequest("a cat")), path)


def test_a_picture_of_loom_is_served_as_what_it_is(client, folders):
    answer = fetched(client, picture(folders / "outputs" / "a.png"))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "content-disposition" not in answer.headers
    assert "access-control-allow-origin" not in answer.headers


def test_what_is_no_picture_of_loom_is_not_there(client, folders):
    (folders / "outputs" / "evil.html").write_text("<script>1</script>")
    (folders / "uploads" / "evil.png").write_text("<script>1</script>")
    (folders / "uploads" / "evil.svg").write_text("<svg onload='1'/>")
    Image.new("RGB", (8, 8)).save(folders / "outputs" / "foreign.png")
    Image.new("RGB", (8, 8)).save(folders / "outside.png")
    (folders / "outputs" / "link.png").symlink_to(folders / "outside.png")
    os.mkfifo(folders / "outputs" / "pipe.png")
    picture(folders / "outputs" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    names = ["outputs/evil.html", "uploads/evil.png", "uploads/evil.svg", "outputs/foreign.png", "outside.png"]
    names += ["outputs/link.png", "outputs/pipe.png", "outputs/damaged.png", "outputs", "outputs/gone.png"]
    assert [fetched(client, folders / name).status_code for name in names] == [404] * len(names)
    for path in ("http://127.0.0.1:1/a.png", "a.png", "../a.png", ""):
        assert fetched(client, path).status_code == 404
    assert client.get("/gradio_api/file/etc/passwd").status_code == 404
    assert client.get("/gradio_api/proxy=http://x/").status_code == 404


def test_thumbnails_and_dropped_pictures_are_served_by_their_content(client, folders):
    Image.new("RGB", (8, 8)).save(folders / "thumbnails" / "a.webp")
    Image.new("RGB", (8, 8)).save(folders / "uploads" / "called.html", format="JPEG")
    assert fetched(client, folders / "thumbnails" / "a.webp").headers["content-type"] == "image/webp"
    assert fetched(client, folders / "uploads" / "called.html").headers["content-type"] == "image/jpeg"
    assert picture_type(folders / "nothing") is None


def test_no_other_page_may_frame_the_studio(client):
    for path in ("/", "/gradio_api/info"):
        headers = client.get(path).headers
        assert headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "access-control-allow-origin" not in headers
