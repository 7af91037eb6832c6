"""What people write into prompts for other programs: tags of LoRAs become adapter choices, the rest is told.

Tags: `<lora:name:strength>`, `<lyco:...>`, with a second number or `te=` for the text encoders, `unet=` for the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from lora_loom.pipelines.errors import RequestError
from lora_loom.pipelines.families.family import ROLES
from lora_loom.pipelines.request import AdapterChoice

TAG = re.compile(r"<(?:lora|lyco):([^<>]*)>", re.IGNORECASE)
# Of these Loom has none; what they look like to its text encoders is words and signs.
_NOT_READ = (
    (re.compile(r"(?<!\\)\([^()<>]*:\s*\d*\.?\d+\s*\)"), "weights of words are not read yet, so the signs are text"),
    (re.compile(r"(?<!\\)\[[^\[\]<>]*:\s*\d*\.?\d+\s*\]"), "words do not change during a run, so the signs are text"),
    (re.compile(r"<(?!lora:|lyco:)[a-z]\w{0,30}:[^<>]*>", re.IGNORECASE), "only tags of LoRAs are read, so it is text"),
    (re.compile(r"\bBREAK\b"), "prompts are not cut into parts, so the word is text"),
)
_MOST_NOTICES = 8
_PARTS = {"te": "text", "unet": "denoiser"}


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
    """`name`, `name:strength` or `name:strength:strength on text encoders` as an adapter choice; raises RequestError.

    The strengths may be named, `name:unet=0.8:te=0.4`.
    """
    name, *parts = text.split(":")
    if not parts:
        return AdapterChoice(text.strip())
    strengths = _strengths(parts)
    if strengths is None:
        raise RequestError(
            f"LoRA {text} cannot be read",
            expected="name:strength with one number, such as kitsune:0.8, or two, the second for the text encoders",
            found=repr(text),
            remedy="Name them where the order is in doubt, as in kitsune:unet=0.8:te=0.4",
        )
    return _choice(name.strip(), *strengths)


def parse_strength(text: str) -> AdapterChoice:
    """`parse_choice` where there is no place for a strength of their own on text encoders; raises RequestError."""
    choice = parse_choice(text)
    if choice.blocks:
        raise RequestError(
            f"LoRA {text} has two strengths", expected="name:strength, such as kitsune:0.8", found=repr(text)
        )
    return choice


def prompt_notices(prompt: str) -> tuple[str, ...]:
    """What of the prompt a person may have meant otherwise than Loom reads it, a sentence each."""
    return tuple(dict.fromkeys(_notices(prompt)))[:_MOST_NOTICES]


def _notices(prompt: str) -> Iterator[str]:
    for tag in TAG.finditer(prompt):
        parts = tag[1].split(":")[1:]
        strengths = _strengths(parts)
        if strengths and len(parts) == 2 and strengths[0] != strengths[1] and not any("=" in part for part in parts):
            yield (
                f"{tag[0][:80]} was read as {strengths[0]:g} on the denoiser and {strengths[1]:g} on the text encoders"
                "; A1111 has them in the other order, which unet= and te= would say"
            )
    for pattern, why in _NOT_READ:
        yield from (f"{found[0][:80]}: {why}" for found in pattern.finditer(prompt))


def _strengths(parts: list[str]) -> tuple[float, float] | None:
    """(denoiser, text encoders), None where the parts are not one or two numbers."""
    given: dict[str, float] = {}
    for part in parts:
        key, equals, number = part.rpartition("=")
        of = (
            _PARTS.get(key.strip().lower())
            if equals
            else next((to for to in ("denoiser", "text") if to not in given), None)
        )
        try:
            value = float(number)
        except ValueError:
            return None
        if of is None or of in given:
            return None
        given[of] = value
    # One that is not said is as the other, or as trained where only the text encoders' is.
    denoiser = given.get("denoiser", 1.0)
    return denoiser, given.get("text", denoiser)


def _choice(name: str, strength: float, on_text: float) -> AdapterChoice:
    """`blocks` scale the strength, and what is nothing cannot be scaled: then the text encoders' is the strength."""
    if strength == on_text or math.isnan(strength):
        return AdapterChoice(name, strength)
    if strength == 0:
        return AdapterChoice(name, on_text, blocks=dict.fromkeys(ROLES, 0.0))
    return AdapterChoice(name, strength, blocks={"text": on_text / strength})
