"""Patterns of module names: the same answers as `re` gives PEFT, a bound on the work, and what is refused."""

import re
import time

import pytest

from lora_loom.pipelines.adapters.name_pattern import NamePattern

NAMES = [
    "",
    "to_q",
    "attn1.to_q",
    "a.attn1.to_k",
    "down_blocks.0.attn2.to_out.0",
    "down_blocks.11.ff",
    "aab",
    "x.aab.b",
]


def test_the_answers_are_those_of_re(subtests):
    patterns = [
        r"to_q", r"to_[qk]", r"to_[^q]", r".*to_q", r"attn\d\.to_(q|k)", r"down_blocks\.\d+\..*", r"^attn1.*",
        r"(?:attn1|attn2)\.to_(?:q|out\.0)", r"blocks\.\d{2}\.ff", r"\w+", r"a{2}b", r"a{1,2}?b", r"a{3,}b",
        r"(down_blocks\.)?0\.attn2.*", r"[\w.]*ff", r"[a-c]+\.b", r"to_q|", r"a*a*a*b", r"\$", r"(^a|x).*b", r"[-a]+b",
        r"a+b$|to_q", r"^a\..*k$",
    ]  # fmt: skip
    for pattern in patterns:
        with subtests.test(pattern=pattern):
            found = [name for name in NAMES if NamePattern(pattern).matches(name)]
            assert found == [name for name in NAMES if re.match(rf"(.*\.)?({pattern})$", name)]


def test_what_is_not_safe_or_not_understood_is_refused(subtests):
    patterns = [
        "(a+)+", "(a|a)*", "(a){2,}", r"(a)\1", "(?=a)", "(?P<n>a)", "(?i)a", r"\bto_q", "a**", "a*+", "[z-a]", "[a",
        "(a", "a)", "*a", "a{2,1}", "a{999}", "^*", "[]", "\\", "(" * 20 + ")" * 20, "a" * 301,
        "((a{64}){64}){64}",
    ]  # fmt: skip
    for pattern in patterns:
        with subtests.test(pattern=pattern), pytest.raises(ValueError, match=r"pattern|understood"):
            NamePattern(pattern)


def test_no_pattern_takes_long():
    started = time.monotonic()
    pattern = NamePattern(".*a.{60}b")
    names = [f"{number:0512b}".translate({48: "a", 49: "b"}) + "!" for number in range(3, 3**200, 3**196)]
    with pytest.raises(ValueError, match="too long"):
        any(pattern.matches(name) for name in names)
    assert not NamePattern(".*.*.*.*.*.*.*.*x").matches("y" * 5000)
    assert time.monotonic() - started < 5
