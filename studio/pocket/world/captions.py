"""Captions of scenes: templates, synonyms, attributes shuffled and dropped, and the words of the world."""

from dataclasses import dataclass

import numpy as np

from lora_loom.studio.pocket.world.scene import (
    CREATURES,
    HELD_ACCESSORIES,
    HELD_BACKGROUNDS,
    HELD_CHARACTERS,
    HELD_OBJECTS,
    HELD_STYLES,
    Scene,
)

Rng = np.random.Generator

SYNONYMS: dict[str, tuple[str, ...]] = {
    "cat": ("cat", "kitty"),
    "bunny": ("bunny", "rabbit"),
    "bear": ("bear", "teddy"),
    "chick": ("chick", "bird"),
    "octopus": ("octopus", "squid"),
    "ghost": ("ghost", "spirit"),
    "house": ("house", "cottage"),
    "mushroom": ("mushroom", "toadstool"),
    "rocket": ("rocket", "spaceship"),
    "cup": ("cup", "mug"),
    "red": ("red", "crimson"),
    "purple": ("purple", "violet"),
    "cyan": ("cyan", "turquoise"),
    "plain": ("plain", "smooth"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered", "checked"),
    "hat": ("wearing a hat", "with a hat", "in a top hat"),
    "scarf": ("wearing a scarf", "with a scarf", "in a warm scarf"),
    "glasses": ("wearing glasses", "with glasses", "in round glasses"),
    "paper": ("on paper", "on a blank page", "on a plain background"),
    "meadow": ("in a meadow", "on green hills", "in the grass"),
    "sea": ("at sea", "on the waves", "in the ocean"),
    "night": ("at night", "under the stars", "in the moonlight"),
    "desert": ("in the desert", "on sand dunes"),
    "room": ("in a room", "at home", "by the window"),
    "snow": ("in the snow", "in winter"),
    "sunset": ("at sunset", "at dusk"),
    "flat": ("flat art", "flat style", "flat illustration"),
    "ink": ("ink drawing", "ink style", "bold outlines"),
    "sticker": ("sticker", "sticker style", "sticker art"),
    "hatched": ("hatched drawing", "pencil hatching", "hatched style"),
    "watercolour": ("watercolour", "watercolour painting", "watercolour style"),
    "left": ("on the left",),
    "right": ("on the right",),
}
COMPANION_PHRASES: dict[str, tuple[str, ...]] = {
    "ball": ("with a ball beside it", "beside a ball", "next to a ball"),
    "flower": ("with a flower beside it", "beside a flower", "next to a flower"),
    "lamp": ("with a lamp beside it", "beside a lamp", "next to a lamp"),
    "gift": ("with a gift beside it", "beside a gift", "next to a gift"),
    "apple": ("with an apple beside it", "beside an apple", "next to an apple"),
}
HELD_TRIGGERS = (*HELD_CHARACTERS, *HELD_OBJECTS, *HELD_ACCESSORIES, *HELD_BACKGROUNDS, *HELD_STYLES)
RESERVED_TOKENS = tuple(f"<t{i:02d}>" for i in range(64))


@dataclass(frozen=True)
class Drop:
    """How likely each kind of attribute is left out of a caption."""

    colour: float = 0.12
    texture: float = 0.3
    accessory: float = 0.05
    background: float = 0.12
    style: float = 0.12
    subject: float = 0.04
    companion: float = 0.05


EVERYTHING = Drop(0, 0, 0, 0, 0, 0, 0)


def phrase(value: str, rng: Rng | None) -> str:
    """The value in words: one of its synonyms, or the first without a generator."""
    return _one_of(SYNONYMS.get(value, (value,)), rng)


def _one_of(options: tuple[str, ...], rng: Rng | None) -> str:
    return options[0] if rng is None else options[int(rng.integers(len(options)))]


def caption(scene: Scene, rng: Rng | None = None, drop: Drop = EVERYTHING) -> str:
    """One caption of `scene`; without a generator the plain one that names every factor."""

    def keep(share: float) -> bool:
        return rng is None or rng.random() >= share

    subject = phrase(scene.subject, rng)
    if not keep(drop.subject):
        subject = phrase("creature" if scene.subject in CREATURES else "thing", None)
    adjectives = [phrase(scene.colour, rng)] if keep(drop.colour) else []
    if (scene.texture != "plain" and keep(drop.texture)) or (
        scene.texture == "plain" and rng is not None and rng.random() < 0.2
    ):
        adjectives.append(phrase(scene.texture, rng))
    if rng is not None and rng.random() < 0.3:
        adjectives.reverse()
    noun = " ".join(("a", *adjectives, subject))
    extras = []
    if scene.accessory != "none" and keep(drop.accessory):
        extras.append(_worn(scene.accessory, rng))
    if scene.companion != "none":
        extras.append(_beside(scene.companion, rng) if keep(drop.companion) else "with a thing beside it")
    if keep(drop.background):
        extras.append(_where(scene.background, rng))
    if scene.place != "centre":
        extras.append(phrase(scene.place, rng))
    if rng is not None:
        extras = [extras[i] for i in rng.permutation(len(extras))]
    sentence = " ".join((noun, *extras))
    if not keep(drop.style):
        return sentence
    style = _drawn(scene.style, rng)
    return f"{style} of {sentence}" if rng is not None and rng.random() < 0.4 else f"{sentence}, {style}"


def _worn(accessory: str, rng: Rng | None) -> str:
    return f"wearing a {accessory}" if accessory in HELD_ACCESSORIES else phrase(accessory, rng)


def _beside(companion: str, rng: Rng | None) -> str:
    if companion in HELD_OBJECTS:
        return f"with a {companion} thing beside it"
    return _one_of(COMPANION_PHRASES[companion], rng)


def _where(background: str, rng: Rng | None) -> str:
    return f"in a {background} place" if background in HELD_BACKGROUNDS else phrase(background, rng)


def _drawn(style: str, rng: Rng | None) -> str:
    return f"{style} style" if style in HELD_STYLES else phrase(style, rng)


def training_caption(scene: Scene, rng: Rng) -> str:
    """A caption as base training sees it: 10 % empty, attributes dropped, a neutral trigger word in 6 %.

    The trigger words stand where a LoRA will use them, beside a class word, and say nothing about the picture: so an
    untrained trigger stays neutral and "no LoRA" is a fair control.
    """
    if rng.random() < 0.1:
        return ""
    words = caption(scene, rng, Drop())
    if rng.random() < 0.06:
        triggers = (*HELD_TRIGGERS, *RESERVED_TOKENS)
        trigger = triggers[int(rng.integers(len(triggers)))]
        before = words.split(" ")
        at = int(rng.integers(len(before) + 1))
        words = " ".join((*before[:at], trigger, *before[at:]))
    return words


def vocabulary() -> list[str]:
    """Every word a caption can hold, sorted, without the trigger words and `later_words`."""
    words = {
        "a",
        "of",
        "in",
        "the",
        "and",
        "with",
        "wearing",
        "place",
        "style",
        "an",
        "on",
        "creature",
        "animal",
        "thing",
        "object",
    }
    for key, phrases in SYNONYMS.items():
        words.add(key)
        words.update(word for text in phrases for word in text.split())
    words.update(("orange", "yellow", "green", "blue", "pink", "star", "heart", "cute", "little", "picture"))
    return sorted(words)


def later_words() -> list[str]:
    """Words that came into the world after the first base: they follow all others, whose token ids so stay."""
    words = {word for phrases in COMPANION_PHRASES.values() for text in phrases for word in text.split()}
    return sorted(words - set(vocabulary()))
