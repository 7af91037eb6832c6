"""JSON from outside is read within bounds, in linear time, and gives nothing that cannot be computed with or kept."""

import json

import pytest

from lora_loom.pipelines import checked_json
from lora_loom.pipelines.checked_json import parse_json, parse_object


def test_what_is_sound_is_read_as_json_reads_it():
    for value in ({}, [], {"a": [1, -2.5, 'ü \\ " 𝄞', True, None, {"b": []}]}, 2**63 - 1, -(2**63), "x", 1e300):
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            assert parse_json(text) == value
            assert parse_json(text.encode()) == value
    assert parse_json(b"\xef\xbb\xbf{}") == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"\xff", "not UTF-8"),
        ('"\ud800"', "not UTF-8"),
        (r'"\ud800"', "half a character"),
        (r'{"\udc00": 1}', "half a character"),
        (r'[{"a": ["\ud83d"]}]', "half a character"),
        ("{", "do not close"),
        ("[" * 70 + "]" * 70, "nested deeper than 64"),
        ("[" * 100_000, "nested deeper"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ("NaN", "NaN as a number"),
        ("-Infinity", "-Infinity as a number"),
        ("1" + "0" * 400, "a number of 401 digits"),
        ("1e400", "the number 1e400"),
        ('{"a": }', "broken JSON at character"),
        ("", "broken JSON"),
    ],
)
def test_what_is_not_is_a_value_error(text, why):
    with pytest.raises(ValueError, match=why):
        parse_json(text)


def test_a_character_of_two_halves_is_one():
    assert parse_json(r'"\ud834\udd1e"') == "𝄞"


def test_the_number_of_keys_is_bounded_before_they_are_read(monkeypatch):
    monkeypatch.setattr(checked_json.json, "loads", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(ValueError, match="with 3 keys, where at most 2 are allowed"):
        parse_json('{"a:": 1, "b": 2, "c": ":"}', pairs=2)


def test_only_an_object_is_an_object():
    assert parse_object('{"a": 1}') == {"a": 1}
    with pytest.raises(ValueError, match="not an object"):
        parse_object("[1]")


def test_every_character_is_looked_at_once(monkeypatch):
    # An unclosed string of escapes: a pattern that starts anew at each quote looks at half of n^2 characters.
    steps = []

    class Counting:
        def __init__(self, pattern):
            self.pattern = pattern

        def sub(self, by, text):
            steps.extend(match.end() - match.start() for match in self.pattern.finditer(text))
            return self.pattern.sub(by, text)

    monkeypatch.setattr(checked_json, "_STRING", Counting(checked_json._STRING))
    hostile = b'{"' + b'\\"' * 16_000
    with pytest.raises(ValueError, match="do not close"):
        parse_json(hostile)
    assert sum(steps) <= len(hostile)
    assert len(steps) == 1
