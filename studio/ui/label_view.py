"""The labelling page as HTML: one picture large, the concepts to look for, and how far one has come."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from lora_loom.studio.evaluation.labels.questions import Question
from lora_loom.studio.library.card import AdapterCard
from lora_loom.studio.pocket.concepts import CONCEPTS, Concept
from lora_loom.studio.templates import render, template_macros
from lora_loom.studio.ui.markup import category_colour, data_url
from lora_loom.studio.ui.shelf import picture as preview
from lora_loom.studio.ui.shelf import unknown_picture

MESSAGES = "ui/label_messages.html.j2"
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
    rows = [_row(name, answers.get(name), cards.get(name), thumbnails) for name in question.concepts]
    return render(
        "ui/label_view.html.j2",
        picture=picture_url(question),
        rows=rows,
        complete=len(answers) == len(question.concepts),
        done=done,
        total=total,
    )


def finished_view(total: int, path: Path) -> str:
    return template_macros(MESSAGES).finished(total, path)


def welcome_view() -> str:
    return template_macros(MESSAGES).welcome()


def opening_view(where: str) -> str:
    return template_macros(MESSAGES).opening(where)


def picture_url(question: Question) -> str:
    """The picture encoded anew, so that neither its name nor its texts reach the page."""
    image = Image.fromarray(question.picture.pixels())
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    file = io.BytesIO()
    image.save(file, format="WEBP", lossless=max(image.size) <= 256, quality=95)
    return data_url("webp", file.getvalue())


def _row(
    name: str, answer: bool | None, card: AdapterCard | None, thumbnails: Path
) -> tuple[str, Concept, bool | None, int, str]:
    """Name, concept, the answer so far, thread, and the picture of the LoRA."""
    concept = CONCEPTS[name]
    return (
        name,
        concept,
        answer,
        category_colour(concept.category),
        preview(card, thumbnails) if card else unknown_picture(),
    )
