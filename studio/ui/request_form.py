"""The components of the Compose form for the fields of a request, each made from its declaration."""

from __future__ import annotations

from typing import Any, cast

import gradio as gr

from lora_loom.pipelines.requests.fields import Group, RequestField
from lora_loom.studio.ui.form import form_fields


def of_group(group: Group) -> list[RequestField]:
    """The fields of one part of the form."""
    return [each for each in form_fields().values() if each.group == group]


def element_of(declared: RequestField) -> str:
    """The id of the field on the page."""
    return declared.element or f"loom-{declared.flag}"


def component(declared: RequestField, **more: Any) -> Any:
    """A component for the field; `more` goes to it as it is.

    The number fields have no bounds of their own, so that a value out of range is explained instead of silently moved.
    """
    value = declared.at_start
    shared: dict[str, Any] = {"label": declared.label, "elem_id": element_of(declared), **more}
    if declared.kind == "switch":
        return gr.Checkbox(bool(value), info=declared.told, **shared)
    if declared.kind == "choice" or declared.suggestions:
        choices = declared.choices or declared.suggestions
        return gr.Dropdown([(str(each), each) for each in choices], value=value, **shared)
    if declared.kind == "text":
        lines = {"lines": 2, "max_lines": 6} if declared.group == "words" else {}
        return gr.Textbox(value, placeholder=declared.hint or None, **lines, **shared)
    whole = declared.kind == "integer"
    if declared.slider is not None:
        low, high = declared.slider
        return gr.Slider(low, high, cast("float", value), step=declared.step or (1 if whole else 0.05), **shared)
    precision, step = (0, declared.step or 1) if whole else (None, declared.step or 0.05)
    return gr.Number(value, precision=precision, step=step, placeholder=declared.hint or None, **shared)
