"""Vocabulary: words that a whole-word tokenizer cannot read are named, with close ones."""

import pytest

from lora_loom.pipelines.errors import BaseModelError
from lora_loom.studio.words import Vocabulary


@pytest.fixture(scope="module")
def vocabulary(tiny_pocket):
    return Vocabulary.of_base(tiny_pocket)


def test_known_words_and_triggers_pass(vocabulary):
    assert vocabulary.unknown("A red cat, wearing a hat at night, <t07>, owlet") == []


def test_unknown_words_come_once_in_order_with_suggestions(vocabulary):
    found = vocabulary.unknown("medow and xylophone, medow")
    assert [one.word for one in found] == ["medow", "xylophone"]
    assert found[0].suggestions[0] == "meadow"


def test_punctuation_and_plurals_lead_to_the_known_word(vocabulary):
    assert [one.suggestions[0] for one in vocabulary.unknown("cat. ghosts")] == ["cat", "ghost"]


def test_special_tokens_are_no_words_to_suggest(vocabulary):
    assert not any(word.startswith("<") or word == "," for word in vocabulary.words)


def test_a_base_without_such_a_tokenizer_knows_every_word(tmp_path):
    assert Vocabulary.of_base(tmp_path).unknown("anything at all") == []
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text('{"model": {"type": "BPE"}}')
    assert Vocabulary.of_base(tmp_path).unknown("anything") == []


def test_a_broken_tokenizer_is_an_error(tmp_path):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "tokenizer.json").write_text("{")
    with pytest.raises(BaseModelError, match="not a tokenizer"):
        Vocabulary.of_base(tmp_path)
