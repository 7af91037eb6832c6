"""`<lora:name:strength>`: what it names, what it leaves of the prompt, and what is refused."""

import pytest

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.requests.prompt_syntax import parse_choice, parse_strength, prompt_notices, split_prompt

NOTHING_BUT_TEXT = {"structure": 0.0, "identity": 0.0, "style": 0.0}


def test_tags_become_choices(subtests):
    cases = [
        ("a fox", "a fox", ()),
        ("  a   fox ", "  a   fox ", ()),  # a prompt without tags is left exactly as it is
        ("a fox <lora:ink:0.8>", "a fox", (AdapterChoice("ink", 0.8),)),
        ("<lora:ink>, a fox", "a fox", (AdapterChoice("ink", 1.0),)),
        ("a <LORA:b/c:-1> fox<lora:ink:.5>!", "a fox !", (AdapterChoice("b/c", -1.0), AdapterChoice("ink", 0.5))),
        ("a fox, <lora:ink:1>, night", "a fox, night", (AdapterChoice("ink", 1.0),)),
        ("a <b> c", "a <b> c", ()),
        ("a fox <lyco:ink:0.5>", "a fox", (AdapterChoice("ink", 0.5),)),
        ("a fox <lora:ink:0.8:0.4>", "a fox", (AdapterChoice("ink", 0.8, blocks={"text": 0.5}),)),
        ("a fox <lora:ink:te=0.4:unet=0.8>", "a fox", (AdapterChoice("ink", 0.8, blocks={"text": 0.5}),)),
        ("a fox <lora:ink:0.8:0>", "a fox", (AdapterChoice("ink", 0.8, blocks={"text": 0.0}),)),
        ("a fox <lora:ink:0.8:0.8>", "a fox", (AdapterChoice("ink", 0.8),)),
        ("a fox <lora:ink:te=0.5>", "a fox", (AdapterChoice("ink", 1.0, blocks={"text": 0.5}),)),
        ("a fox <lora:ink:unet=0.5>", "a fox", (AdapterChoice("ink", 0.5),)),
        ("a fox <lora:ink:0:0.5>", "a fox", (AdapterChoice("ink", 0.5, blocks=NOTHING_BUT_TEXT),)),
    ]
    for prompt, words, choices in cases:
        with subtests.test(prompt=prompt, words=words, choices=choices):
            assert split_prompt(prompt) == (words, choices)


def test_unreadable_choices_are_refused(subtests):
    cases = [
        "ink:",
        "ink:strong",
        "ink:0.5:0.7:1",
        "ink:te=1:te=2",
        "ink:lbw=1",
        "ink:0:1000",
        "ink:nan:1",
        ":1",
        "",
        "ink:nan",
        "ink:inf",
        "ink:1000",
    ]
    for text in cases:
        with subtests.test(text=text), pytest.raises(RequestError):
            parse_choice(text)


def test_a_long_row_of_open_brackets_is_read_in_linear_time():
    prompt = "<lora:" * 100_000
    assert split_prompt(prompt) == (prompt, ())
    for sign in ("(", "(:", "[a:", "<x:", "(a:1" * 2):
        assert prompt_notices(sign * 50_000) == ()


def test_what_is_not_read_is_said(subtests):
    cases = [
        ("a (fox:1.3) in [snow:0.5]", ["(fox:1.3): weights", "[snow:0.5]: words"]),
        ("a fox <hypernet:ink:1> BREAK night", ["<hypernet:ink:1>: only", "BREAK: prompts"]),
        ("a fox <lora:ink:0.8:0.4>", ["<lora:ink:0.8:0.4> was read as 0.8 on the denoiser"]),
        ("a fox <lora:ink:unet=0.8:te=0.4> <lora:ink:1:1>", []),
        ("a fox (at 10:30 or later), a \\(fox:1.3\\), time [12]", []),
    ]
    for prompt, starts in cases:
        with subtests.test(prompt=prompt):
            found = prompt_notices(prompt)
            assert len(found) == len(starts)
            assert all(each.startswith(start) for each, start in zip(found, starts, strict=True))
    assert len(prompt_notices(" ".join(f"(a:{number})" for number in range(1000)))) == 8


def test_one_strength_is_all_that_some_commands_take():
    assert parse_strength("ink:0.5") == AdapterChoice("ink", 0.5)
    with pytest.raises(RequestError, match="two strengths"):
        parse_strength("ink:0.5:1")
