"""The fusion method picker: every registered method with its plain-language help and a form made from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import gradio as gr

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.method import FusionMethod
from lora_loom.pipelines.registry import methods
from lora_loom.pipelines.request import SettingValue, declared_fields
from lora_loom.studio.settings_form import FormField, form
from lora_loom.studio.templates import render

DEFAULT_METHOD = str(declared_fields()["method"].default)
FEW_SETTINGS = 2  # more are folded away, so that Generate stays in sight


@dataclass(frozen=True)
class MethodForm:
    """The components: the `picker`, its `help`, a group per method that has settings, `fields` by "method.setting"."""

    picker: gr.Radio
    help: gr.HTML
    groups: Mapping[str, gr.Accordion]
    fields: Mapping[str, Any]


def build_method_form() -> MethodForm:
    """Make the components inside the current Gradio layout and let the picker show the help and form of its method."""
    known = methods()
    first = DEFAULT_METHOD if DEFAULT_METHOD in known else next(iter(known))
    ordered = [first, *(name for name in known if name != first)]
    picker = gr.Radio(
        [(known[name].title, name) for name in ordered],
        value=first,
        label=declared_fields()["method"].label,
        elem_id="loom-method",
        info="How the LoRAs share the picture",
    )
    help_view = gr.HTML(method_help(known[first]), apply_default_css=False, elem_id="loom-method-help")
    groups: dict[str, gr.Accordion] = {}
    components: dict[str, Any] = {}
    for name, method in known.items():
        settings = form(method)
        if not settings:
            continue
        few = len(settings) <= FEW_SETTINGS
        with gr.Accordion("Settings", open=few, visible=name == first, elem_classes="loom-settings") as group:
            for setting in settings:
                components[f"{name}.{setting.name}"] = _component(
                    setting, elem_id=f"loom-setting-{name}-{setting.name}"
                )
        groups[name] = group

    def show(name: str) -> list[Any]:
        return [method_help(known[name]), *(gr.Accordion(visible=group == name) for group in groups)]

    picker.change(
        show, picker, [help_view, *groups.values()], show_progress="hidden", queue=False, api_visibility="private"
    )
    return MethodForm(picker, help_view, groups, components)


def read_settings(method: str, values: Mapping[str, Any]) -> dict[str, SettingValue]:
    """The settings of `method` out of the values of all fields; raises SettingError for an empty field."""
    settings: dict[str, SettingValue] = {}
    for setting in form(methods()[method]):
        value = values[f"{method}.{setting.name}"]
        if value is None:
            raise SettingError(f"{setting.label} of {methods()[method].title} is empty", expected=_range(setting))
        if setting.kind == "integer" and isinstance(value, float) and value.is_integer():
            value = int(value)  # a browser sends 5 and 5.0 alike
        settings[setting.name] = value
    return settings


def method_help(method: type[FusionMethod]) -> str:
    """What a person needs to choose: when to use it, what it costs, where it is from."""
    passes = method.passes_per_step
    cost = "one pass per step" if passes == "1" else f"{passes} passes per step for N LoRAs"
    return render("ui/method_form.html.j2", method=method, cost=cost)


def _component(setting: FormField, elem_id: str) -> Any:
    shared: dict[str, Any] = {"label": setting.label, "info": setting.help or None, "elem_id": elem_id}
    if setting.kind == "switch":
        return gr.Checkbox(value=bool(setting.default), **shared)
    if setting.kind == "choice":
        return gr.Dropdown([(str(choice), choice) for choice in setting.choices], value=setting.default, **shared)
    if setting.kind == "text":
        return gr.Textbox(value=str(setting.default), **shared)
    # The bounds are left to the method itself, so that a value out of range is explained instead of silently moved.
    return gr.Number(
        value=cast("float", setting.default),
        precision=0 if setting.kind == "integer" else None,
        step=1 if setting.kind == "integer" else 0.05,
        **{**shared, "info": " ".join(part for part in (setting.help, f"({_range(setting)})") if part)},
    )


def _range(setting: FormField) -> str:
    low, high = setting.minimum, setting.maximum
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else f"at most {high:g}" if high is not None else "any number"
