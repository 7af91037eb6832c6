"""HTML from Jinja2 templates, which stand beside the modules that fill them: every value is escaped on its way in.

Line breaks and indentation of a template are no part of the page. A value that has markup of its own is what `render`
or a macro gave; all others are text, cut at `MAX_CHARACTERS` unless `cut` says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

MAX_CHARACTERS = 4_000


def render(template: str, /, **values: Any) -> Markup:
    """The template of that path below `studio/`, filled; raises UndefinedError for a value that is not given."""
    return Markup(ENVIRONMENT.get_template(template).render(values))


def template_macros(template: str) -> Any:
    """The macros of a template as functions that give HTML."""
    return ENVIRONMENT.get_template(template).module


def cut(value: object, maximum: int = MAX_CHARACTERS) -> str:
    """`value` as text of at most `maximum` characters."""
    words = str(value)
    return words if len(words) <= maximum else f"{words[: maximum - 1]}…"


def _shown(value: Any) -> Any:
    return cut(value) if type(value) is str else value  # neither markup nor a number


class _Joined(FileSystemLoader):
    """Reads templates with their lines joined."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool]]:
        source, path, fresh = super().get_source(environment, template)
        return "".join(line.strip() for line in source.splitlines()), path, fresh


ENVIRONMENT = Environment(
    loader=_Joined(Path(__file__).parent),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    auto_reload=False,
)
ENVIRONMENT.filters["cut"] = cut
ENVIRONMENT.filters["form"] = format
