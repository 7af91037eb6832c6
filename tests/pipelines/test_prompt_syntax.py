"""`<lora:name:strength>`: what it names, what it leaves of the prompt, and what is refused."""

import pytest

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.prompt_syntax import parse_choice, split_prompt
from lora_loom.pipelines.request import AdapterChoice


def test_tags_become_choices(subtests):
    cases = [
        ("a fox", "a fox", ()),
        ("  a   fox ", "  a   fox ", ()),  # a prompt without tags is left exactly as it is
        ("a fox <lora:ink:0.8>", "a fox", (AdapterChoice("ink", 0.8),)),
        ("<lora:ink>, a fox", "a fox", (AdapterChoice("ink", 1.0),)),
        ("a <LORA:b/c:-1> fox<lora:ink:.5>!", "a fox !", (AdapterChoice("b/c", -1.0), AdapterChoice("ink", 0.5))),
        ("a fox, <lora:ink:1>, night", "a fox, night", (AdapterChoice("ink", 1.0),)),
        ("a <b> c", "a <b> c", ()),
    ]
    for prompt, words, choices in cases:
        with subtests.test(prompt=prompt, words=words, choices=choices):
            assert split_prompt(prompt) == (words, choices)


def test_unreadable_choices_are_refused(subtests):
    cases = ["ink:", "ink:strong", "ink:0.5:0.7", ":1", "", "ink:nan", "ink:inf", "ink:1000"]
    for text in cases:
        with subtests.test(text=text), pytest.raises(RequestError):
            parse_choice(text)


def test_a_long_row_of_open_brackets_is_read_in_linear_time():
    prompt = "<lora:" * 100_000
    assert split_prompt(prompt) == (prompt, ())
