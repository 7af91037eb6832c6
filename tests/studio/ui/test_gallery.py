"""The gallery: the recorded pictures of the output folder, found by file name alone."""

import os

import pytest
from PIL import Image

from lora_loom.pipelines.errors import OutputError, UnknownAdapterError
from lora_loom.pipelines.request import AdapterChoice, GenerationRequest
from lora_loom.studio.records.record import GenerationRecord, save_png
from lora_loom.studio.ui.gallery import Gallery, gallery_view, restored_notice


@pytest.fixture
def gallery(tmp_path):
    folder = tmp_path / "outputs"
    for number in range(3):
        request = GenerationRequest(f"picture {number}", adapters=(AdapterChoice("owlet", 0.5),), seed=number)
        path = save_png(Image.new("RGB", (16, 16)), GenerationRecord(request), folder / f"{number}.png")
        os.utime(path, (number, number))
    Image.new("RGB", (16, 16)).save(folder / "no-record.png")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "link.png").symlink_to(folder / "0.png")
    return Gallery(folder)


def test_recorded_pictures_come_newest_first(gallery):
    pictures, more = gallery.pictures()
    assert [one.name for one in pictures] == ["2.png", "1.png", "0.png"]
    assert not more
    assert gallery.pictures(2)[1]


def test_a_folder_that_is_not_there_is_an_empty_gallery(tmp_path):
    assert Gallery(tmp_path / "nothing").pictures() == ([], False)
    assert "Nothing here yet" in gallery_view(Gallery(tmp_path / "nothing"), {}, tmp_path)


def test_a_picture_is_found_by_its_name_only(gallery, tmp_path):
    assert gallery.find("1.png").record.request.prompt == "picture 1"
    for name in ("../outputs/1.png", str(tmp_path / "outputs" / "1.png"), "link.png", "no-record.png", ""):
        with pytest.raises(OutputError, match="no longer"):
            gallery.find(name)
    assert gallery.path_of("../secret") is None


def test_the_view_shows_the_settings_of_the_opened_picture(gallery, tmp_path):
    view = gallery_view(gallery, {}, tmp_path / "thumbs", opened="1.png")
    assert view.count("loom-tile") >= 3
    assert "Use these settings" in view
    assert "owlet (not in the library)" in view
    assert "× 0.5" in view
    assert "Use these settings" not in gallery_view(gallery, {}, tmp_path / "thumbs", opened="gone.png")


def test_more_pictures_come_on_request(gallery, tmp_path):
    assert "Show more" in gallery_view(gallery, {}, tmp_path / "thumbs", limit=2)


def test_what_is_said_about_restored_settings():
    one = GenerationRecord(GenerationRequest("x"))
    assert restored_notice(one, [])[1] == []
    title, lines = restored_notice(one, [UnknownAdapterError("there is no LoRA called owlet")])
    assert "cannot be made again" in title
    assert "owlet" in lines[0]
    four = GenerationRecord(GenerationRequest("x", num_images_per_prompt=4))
    assert "one of 4" in restored_notice(four, [])[1][0]
