"""Searching the cards: every word must occur, and a title counts most."""

from lora_loom.studio.library.adapter_library import AdapterLibrary
from lora_loom.studio.library.search import categories, search


def test_search_needs_every_word_and_puts_titles_first(tmp_path, write_lora):
    write_lora(tmp_path / "owlet.safetensors", title="Owlet", category="Character", triggers="owlet")
    write_lora(tmp_path / "crown.safetensors", triggers="crown, golden", metadata={"modelspec.title": "Golden crown"})
    write_lora(tmp_path / "ring.safetensors", title="Ring", triggers="crown jewel")
    cards = AdapterLibrary([tmp_path]).cards()
    assert [card.name for card in search(cards, "crown")] == ["crown", "ring"]
    assert [card.name for card in search(cards, "JEWEL crown")] == ["ring"]
    assert [card.name for card in search(cards, "", "character")] == ["owlet"]
    assert search(cards, "nothing like it") == []
    assert "character" in categories(cards)
