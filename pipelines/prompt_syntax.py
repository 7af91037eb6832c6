"""`<lora:name:strength>` inside a prompt: taken out of the text and turned into adapter choices."""

from __future__ import annotations

import re

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.request import AdapterChoice

TAG = re.compile(r"<lora:([^<>]*)>", re.IGNORECASE)


def split_prompt(prompt: str) -> tuple[str, tuple[AdapterChoice, ...]]:
    """The prompt without its tags, and the adapters they name, in order.

    `<lora:name>` means strength 1. Raises RequestError for a tag without a name or with a strength that is no number.
    """
    choices = tuple(parse_choice(match[1]) for match in TAG.finditer(prompt))
    if not choices:
        return prompt, ()
    words = " ".join(TAG.sub(" ", prompt).split())
    return re.sub(r" ?,( ?,)*", ",", words).strip(" ,"), choices  # a tag between commas leaves one of them


def parse_choice(text: str) -> AdapterChoice:
    """`name` or `name:strength` as an adapter choice; raises RequestError."""
    name, colon, number = text.rpartition(":")
    if not colon:
        return AdapterChoice(text.strip())
    try:
        strength = float(number)
    except ValueError:
        strength = None
    if strength is None or ":" in name:
        raise RequestError(
            f"LoRA {text} cannot be read",
            expected="name:strength with one number, such as kitsune:0.8",
            found=repr(text),
        )
    return AdapterChoice(name.strip(), strength)
