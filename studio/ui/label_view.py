"""The labelling page as HTML: one picture large, the concepts to look for, and how far one has come."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from lora_loom.studio.evaluation.labels.questions import Question
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.pocket.concepts import CONCEPTS
from lora_loom.studio.ui.markup import attributes, button, strand, text
from lora_loom.studio.ui.shelf import picture as preview

MAX_SIDE = 768  # pixels of the picture that is shown


def label_view(
    question: Question,
    answers: Mapping[str, bool],
    cards: Mapping[str, AdapterCard],
    thumbnails: Path,
    *,
    done: int,
    total: int,
) -> str:
    """The page for one picture. Neither its name, its prompt nor its method is anywhere in it."""
    rows = "".join(_row(name, answers.get(name), cards.get(name), thumbnails) for name in question.concepts)
    complete = len(answers) == len(question.concepts)
    save = button("Save and next", "save", kind="loom-button loom-primary") if complete else _waiting()
    bar = f'<div class="loom-bar"><span style="width:{100 * done / total:.1f}%"></span></div>'
    shown = f'<div class="loom-label-picture"><img src="{picture_url(question)}" alt="A picture"></div>'
    return (
        f'<div class="loom-label">{shown}'
        f'<div class="loom-label-asked"><h2>What does the picture show?</h2>{rows}'
        f'<div class="loom-actions">{button("Skip", "skip", title="Leave this picture for later")}{save}</div>'
        f'{bar}<p class="loom-quiet">{done} of {total} pictures labelled</p></div></div>'
    )


def finished_view(total: int, path: Path) -> str:
    return (
        f'<div class="loom-empty"><strong>All {total} pictures are labelled</strong>'
        f"<p>Thank you. The answers are in {text(path)}. "
        "<code>loom evaluate labels</code> compares a judge with them.</p></div>"
    )


def welcome_view() -> str:
    return (
        '<div class="loom-empty"><strong>Say what pictures show</strong>'
        "<p>You see pictures in an order of chance, without the prompt or the method that drew them, and say for each "
        "concept whether it is there. Half of the concepts were asked for. What you save is kept at once, and you can "
        "stop and go on at any time.</p></div>"
    )


def opening_view(where: str) -> str:
    return (
        '<div class="loom-empty"><strong>Nothing to label yet</strong>'
        "<p>Sets of pictures that say which concepts they should show appear here, such as those of a batch. "
        f"Put them into {text(where)} and press Look again.</p></div>"
    )


def picture_url(question: Question) -> str:
    """The picture encoded anew, so that neither its name nor its texts reach the page."""
    image = Image.fromarray(question.picture.pixels())
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    image.save(file, format="WEBP", lossless=max(image.size) <= 256, quality=95)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def _row(name: str, answer: bool | None, card: AdapterCard | None, thumbnails: Path) -> str:
    concept = CONCEPTS[name]
    shown = preview(card, thumbnails) if card else '<span class="loom-letter" aria-hidden="true">?</span>'
    choices = "".join(
        _choice(name, word, value, pressed=answer is value) for word, value in (("There", True), ("Not there", False))
    )
    return (
        f'<div class="loom-question loom-edge-{strand(concept.category)}" data-name="{text(name)}">'
        f'<span class="loom-frame">{shown}</span>'
        f"<div><strong>{text(concept.title)}</strong><small>{text(concept.description)}</small></div>"
        f'<div class="loom-choices" role="group" aria-label="{text(concept.title)}">{choices}</div></div>'
    )


def _choice(name: str, word: str, value: bool, *, pressed: bool) -> str:
    own = attributes(
        type="button",
        class_="loom-pill",
        data_action="answer",
        data_name=name,
        data_value="yes" if value else "no",
        aria_pressed=str(pressed).lower(),
    )
    return f"<button {own}>{word}</button>"


def _waiting() -> str:
    return '<button type="button" class="loom-button" disabled>Save and next</button>'
