"""Templates escape every value, refuse what is not given, come with the package, and are where HTML is made."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from lora_loom.studio import templates
from lora_loom.studio.templates import ENVIRONMENT, MAX_CHARACTERS, cut, render

ROOT = Path(__file__).parents[2]
STUDIO = ROOT / "studio"
NAMES = [path.relative_to(STUDIO).as_posix() for path in sorted(STUDIO.rglob("*.j2"))]
TAG = re.compile(
    r"</?(a|article|b|button|details|div|dl|figure|h[1-6]|i|img|input|label|li|p|section|small|span|table|ul)\b"
)


def filled(source, **values):
    return ENVIRONMENT.from_string(source).render(values)


def test_values_are_escaped_and_only_markup_is_not():
    assert filled("{{ a }}{{ b }}", a="<b>'\"&", b=Markup("<i>")) == "&lt;b&gt;&#39;&#34;&amp;<i>"
    assert filled('<p title="{{ a }}">', a='" onload="x') == '<p title="&#34; onload=&#34;x">'


def test_long_texts_are_cut_and_markup_never():
    assert filled("{{ a }}", a="x" * 10_000) == "x" * (MAX_CHARACTERS - 1) + "…"
    assert filled("{{ a|cut(5) }}", a="abcdefgh") == "abcd…"
    assert filled("{{ a }}", a=Markup("x" * 10_000)) == "x" * 10_000
    assert cut("abc", 3) == "abc"


def test_what_is_not_given_is_an_error():
    with pytest.raises(UndefinedError, match="'name' is undefined"):
        filled("{{ name }}")


def test_lines_of_a_template_are_joined():
    assert render("ui/picture.html.j2", url="x.webp") == '<img src="x.webp" alt="" loading="lazy">'


def test_every_template_compiles_says_what_it_is_for_and_trusts_nothing():
    assert len(NAMES) > 15
    for name in NAMES:
        ENVIRONMENT.get_template(name)
        source = (STUDIO / name).read_text(encoding="utf-8")
        assert source.startswith("{# "), name
        assert "|safe" not in source, name
        assert "autoescape" not in source, name


def test_every_template_is_in_the_package():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for name in NAMES:
        package = ".".join(["lora_loom", "studio", *Path(name).parts[:-1]])
        assert "*.j2" in data[package], name


def test_python_makes_no_html():
    found = []
    for path in STUDIO.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and TAG.search(node.value):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.value[:60]}")
    assert not found


def test_the_environment_is_made_once():
    assert templates.ENVIRONMENT is ENVIRONMENT
    assert ENVIRONMENT.autoescape is True
