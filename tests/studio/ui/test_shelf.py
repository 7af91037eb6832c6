"""The shelf: cards by category, a page at a time, with search, filter and honest empty states."""

import pytest
from PIL import Image

from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.ui.shelf import shelf


@pytest.fixture
def cards(tmp_path, write_lora):
    folder = tmp_path / "loras"
    write_lora(folder / "neon.safetensors", title="Neon", category="style", triggers="neon")
    write_lora(folder / "owlet.safetensors", title="Owlet", category="character", triggers="owlet")
    (folder / "broken.safetensors").write_bytes(b"no")
    Image.new("RGB", (600, 300), "red").save(folder / "owlet.preview.png")
    return AdapterLibrary([folder]).cards()


def test_characters_come_first_and_broken_files_last(cards, tmp_path):
    page = shelf(cards, tmp_path / "thumbs")
    places = [page.index(f'data-name="{name}"') for name in ("owlet", "neon", "broken")]
    assert places == sorted(places)
    assert "loom-broken" in page
    assert "disabled" in page


def test_a_preview_is_shown_as_a_thumbnail_and_a_letter_stands_for_none(cards, tmp_path):
    page = shelf(cards, tmp_path / "thumbs")
    (small,) = (tmp_path / "thumbs").iterdir()
    with Image.open(small) as image:
        assert image.size == (256, 128)
    assert str(small.name) in page
    assert ">N</span>" in page


def test_the_chosen_card_is_marked(cards, tmp_path):
    assert shelf(cards, tmp_path, chosen={"neon"}).count('aria-pressed="true"') == 2  # the card and the pill All


def test_search_and_category_narrow_it(cards, tmp_path):
    assert 'data-name="owlet"' not in shelf(cards, tmp_path, query="neon")
    assert 'data-name="neon"' not in shelf(cards, tmp_path, category="character")
    assert "Nothing fits" in shelf(cards, tmp_path, query="zebra")


def test_an_empty_library_says_what_to_do(tmp_path):
    assert "LOOM_LIBRARY" in shelf([], tmp_path)


def test_more_cards_come_on_request(cards, tmp_path):
    page = shelf(cards, tmp_path, limit=2)
    assert page.count("<article") == 2
    assert "Show more (1 left)" in page


def test_a_card_says_what_of_its_lora_acts_where_that_is_not_all(cards, tmp_path):
    for in_part, said in (({}, 0), ({"neon": "1 <ignored>"}, 1)):
        assert shelf(cards, tmp_path, in_part=in_part).count("Acts only in part: 1 &lt;ignored&gt;") == said
