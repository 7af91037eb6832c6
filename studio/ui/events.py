"""What events of the page carry, and what the browser keeps for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

STORAGE_SECRET = "loom"  # what is kept in the browser is no secret: the prompt, stack and jobs of the person at it
MAX_DATA = 2_000  # characters of a value from the page


def pressed(event: gr.EventData, name: str, maximum: int = MAX_DATA) -> str:
    """One data-* value of the pressed element, as text; the browser may send anything."""
    data = event._data if isinstance(event._data, dict) else {}
    value = data.get(name, "")
    return value[:maximum] if isinstance(value, str) else ""


def value_of(component: Any, value: Any) -> Any:
    """The value for a component; a slider grows so that it can show a value beyond its usual range."""
    if isinstance(component, gr.Slider) and isinstance(value, int | float):
        return gr.Slider(value=value, minimum=min(component.minimum, value), maximum=max(component.maximum, value))
    return value


def as_object(names: Sequence[str]) -> str:
    """JavaScript that turns the values of the form into one object, without a round trip to the server."""
    return f"(...values) => Object.fromEntries({json.dumps(list(names))}.map((name, index) => [name, values[index]]))"
