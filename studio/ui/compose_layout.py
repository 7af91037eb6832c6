"""The components of the Compose tab and how they stand: shelf, prompt and stack, picture and gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from lora_loom.pipelines.requests.fields import RequestField
from lora_loom.studio.templates import render
from lora_loom.studio.ui.markup import ON_ACTION
from lora_loom.studio.ui.method_form import MethodForm, build_method_form
from lora_loom.studio.ui.request_form import component, of_group

SIDE, CHOICE = 100, 120  # pixels that a number and a choice beside others take at least
POLL_SECONDS = 0.4  # how often the page asks how far the picture is


@dataclass(frozen=True)
class ComposeLayout:
    """The components of the tab; `controls` are the form's fields by the names that `lora_loom.studio.ui.form` uses."""

    controls: dict[str, Any]
    method: MethodForm
    new_seed: gr.Checkbox
    search: gr.Textbox
    shelf: gr.HTML
    recipes: gr.HTML
    words: gr.HTML
    stack: gr.HTML
    undo: gr.Button
    forecast: gr.HTML
    dice: gr.Button
    generate: gr.Button
    cancel: gr.Button
    banner: gr.HTML
    stage: gr.HTML
    gallery: gr.HTML
    picture: gr.File
    timer: gr.Timer


def lay_out() -> ComposeLayout:
    """Make the components inside the current Gradio layout."""
    banner = _view("loom-banner-area")
    with gr.Row(elem_id="loom-compose"):
        with gr.Column(elem_id="loom-left"):
            gr.HTML(render("ui/heading.html.j2", title="LoRA shelf"), apply_default_css=False)
            search = gr.Textbox(
                placeholder="Search titles, triggers, tags…", show_label=False, container=False, elem_id="loom-search"
            )
            shelf = _view("loom-shelf")
        with gr.Column(elem_id="loom-middle"):
            written = _components(of_group("words"))
            words, recipes = _view("loom-words-area"), _view("loom-recipes")
            with gr.Row(elem_id="loom-stack-head"):
                gr.HTML(render("ui/heading.html.j2", title="Stack"), apply_default_css=False)
                undo = gr.Button("↶ Undo", size="sm", elem_id="loom-undo", interactive=False, min_width=80, scale=0)
            stack, forecast = _view("loom-stack"), _view("loom-forecast")
            method = build_method_form()
            controls, new_seed, dice = _sampling()
            with gr.Row(elem_id="loom-go"):
                generate = gr.Button("Generate", variant="primary", elem_id="loom-generate", scale=3)
                cancel = gr.Button("Cancel", variant="stop", elem_id="loom-cancel", interactive=False, scale=1)
        with gr.Column(elem_id="loom-right"):
            stage = _view("loom-stage-area")
            gr.HTML(render("ui/heading.html.j2", title="Gallery"), apply_default_css=False)
            gallery = _view("loom-gallery")
            picture = gr.File(
                label="Picture to restore",
                show_label=False,
                file_types=[".png"],
                type="filepath",
                elem_id="loom-restore",
                height=64,
            )
    return ComposeLayout(
        controls={**written, **controls, "method": method.picker, **method.fields},
        method=method,
        new_seed=new_seed,
        search=search,
        shelf=shelf,
        recipes=recipes,
        words=words,
        stack=stack,
        undo=undo,
        forecast=forecast,
        dice=dice,
        generate=generate,
        cancel=cancel,
        banner=banner,
        stage=stage,
        gallery=gallery,
        picture=picture,
        timer=gr.Timer(POLL_SECONDS, active=False),
    )


def _view(elem_id: str) -> gr.HTML:
    """An empty area whose HTML comes from Python and whose buttons send `act` events."""
    return gr.HTML("", js_on_load=ON_ACTION, apply_default_css=False, elem_id=elem_id, elem_classes="loom-area")


def _sampling() -> tuple[dict[str, Any], gr.Checkbox, gr.Button]:
    """What the request has groups of fields for: sampling, seed, and what is needed less often."""
    controls: dict[str, Any] = {}
    with gr.Row(elem_classes="loom-tight"):
        controls |= _components(of_group("sampling"))
    with gr.Row(elem_classes="loom-tight", elem_id="loom-seed-row"):
        seeds = of_group("seed")
        controls |= _components([each for each in seeds if each.name == "seed"])  # beside its dice
        dice = gr.Button("⚄", elem_id="loom-dice")
        new_seed = gr.Checkbox(False, label="New seed each time", elem_id="loom-new-seed", container=False)
        controls |= _components([each for each in seeds if each.name != "seed"])
    more = of_group("more")
    texts = [each for each in more if each.kind == "text" and not each.suggestions]
    sides = [each for each in more if each.kind in ("integer", "number")]
    others = [each for each in more if each not in (*texts, *sides)]
    with gr.Accordion("Negative prompt, size, sampler", open=False, elem_id="loom-more"):
        controls |= _components(texts)
        with gr.Row(elem_classes="loom-tight"):
            controls |= _components(sides, min_width=SIDE) | _components(others, min_width=CHOICE)
    return controls, new_seed, dice


def _components(declared: Sequence[RequestField], **more: Any) -> dict[str, Any]:
    return {each.name: component(each, **more) for each in declared}
