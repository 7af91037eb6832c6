"""What a picture shows, as data: the named factors, their values, the withheld pairs, and random scenes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

SUBJECTS = ("cat", "bunny", "bear", "chick", "octopus", "ghost", "star", "heart", "house", "mushroom", "rocket", "cup")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
TEXTURES = ("plain", "striped", "dotted", "checkered")
ACCESSORIES = ("none", "hat", "scarf", "glasses")
BACKGROUNDS = ("paper", "meadow", "sea", "night", "desert", "room", "snow", "sunset")
STYLES = ("flat", "ink", "sticker", "hatched", "watercolour")
PLACES = ("centre", "left", "right")
COMPANIONS = ("none", "ball", "flower", "lamp", "gift", "apple")

HELD_CHARACTERS = ("bloop", "snorn", "triclo", "impy", "owlet", "snaggle", "buggle", "floppet")
HELD_OBJECTS = ("umbrella", "boat", "cactus", "cake")
HELD_ACCESSORIES = ("crown", "bow", "headphones", "balloon")
HELD_BACKGROUNDS = ("city", "forest", "bubbles", "polka")
HELD_STYLES = ("halftone", "neon", "mosaic", "glitch")

CREATURES = (*SUBJECTS[:6], *HELD_CHARACTERS)

FACTORS: Mapping[str, tuple[str, ...]] = {
    "subject": SUBJECTS,
    "colour": COLOURS,
    "texture": TEXTURES,
    "accessory": ACCESSORIES,
    "background": BACKGROUNDS,
    "style": STYLES,
    "place": PLACES,
    "companion": COMPANIONS,
}
HELD: Mapping[str, tuple[str, ...]] = {
    "subject": HELD_CHARACTERS,
    "accessory": HELD_ACCESSORIES,
    "background": HELD_BACKGROUNDS,
    "style": HELD_STYLES,
    "companion": HELD_OBJECTS,
}
WITHHELD_PAIR_FACTORS = (("subject", "colour"), ("subject", "style"), ("background", "style"))
WITHHELD_SHARE = 0.15
COMPANY = 0.7  # of the sampled scenes may have a companion


@dataclass(frozen=True)
class Scene:
    """One picture of the pocket world.

    The first eight fields are the named factors; a companion is a small thing that stands beside the subject. `x`,
    `y` move the subject off its place (units of half a picture), `scale` multiplies its size, `tilt` turns it
    (radians) and `variation` seeds everything that has no name: small shifts of colour, the phase of waves, where the
    stars are, the companion's side of a central subject.
    """

    subject: str
    colour: str = "red"
    texture: str = "plain"
    accessory: str = "none"
    background: str = "paper"
    style: str = "flat"
    place: str = "centre"
    companion: str = "none"
    x: float = 0.0
    y: float = 0.0
    scale: float = 1.0
    tilt: float = 0.0
    variation: int = 0

    def __post_init__(self) -> None:
        for factor, known in FACTORS.items():
            value, values = getattr(self, factor), known + HELD.get(factor, ())
            if value not in values:
                raise ValueError(f"{factor} must be one of {', '.join(values)}; got {value!r}")

    def named(self) -> dict[str, str]:
        """The named factors alone."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name in FACTORS}


def _withheld(first: str, second: str) -> frozenset[tuple[str, str]]:
    """15 % of the pairs of two factors, chosen by hash so that every value keeps most of its partners."""
    pairs = [(a, b) for a in FACTORS[first] for b in FACTORS[second]]
    order = sorted(pairs, key=lambda pair: hashlib.sha256("|".join((first, second, *pair)).encode()).digest())
    chosen: list[tuple[str, str]] = []
    counts: dict[str, int] = {}
    for a, b in order:
        fair_a = counts.get(f"a{a}", 0) < np.ceil(WITHHELD_SHARE * len(FACTORS[second]))
        fair_b = counts.get(f"b{b}", 0) < np.ceil(WITHHELD_SHARE * len(FACTORS[first]))
        if fair_a and fair_b and len(chosen) < round(WITHHELD_SHARE * len(pairs)):
            chosen.append((a, b))
            counts[f"a{a}"] = counts.get(f"a{a}", 0) + 1
            counts[f"b{b}"] = counts.get(f"b{b}", 0) + 1
    return frozenset(chosen)


WITHHELD_PAIRS: Mapping[tuple[str, str], frozenset[tuple[str, str]]] = {
    pair: _withheld(*pair) for pair in WITHHELD_PAIR_FACTORS
}


def is_withheld(scene: Scene) -> bool:
    """Whether the scene shows a pair of values that base training never sees together."""
    return any((getattr(scene, a), getattr(scene, b)) in pairs for (a, b), pairs in WITHHELD_PAIRS.items())


def sample_scene(
    rng: np.random.Generator,
    *,
    withheld: bool = False,
    jitter: float = 1.0,
    factors: Mapping[str, Sequence[str]] | None = None,
    **fixed: str,
) -> Scene:
    """Draw a scene of base values: with no withheld pair, or, if `withheld`, with at least one.

    `factors` replaces the values drawn from, `fixed` pins factors to a value, `jitter` scales the spread of the pose.
    """
    values = {**FACTORS, **(factors or {})}
    while True:
        draw: dict[str, Any] = {name: str(options[rng.integers(len(options))]) for name, options in values.items()}
        draw["place"] = str(rng.choice(PLACES, p=(0.7, 0.15, 0.15)))
        draw["companion"] = draw["companion"] if rng.random() < COMPANY else "none"
        scene = Scene(**{**draw, **fixed})
        if set(fixed) >= {"subject", "background", "style"} or is_withheld(scene) == withheld:
            return posed(scene, rng, jitter)


def posed(scene: Scene, rng: np.random.Generator, jitter: float = 1.0) -> Scene:
    """The same named factors with a fresh pose and variation."""
    return replace(
        scene,
        x=float(rng.uniform(-0.07, 0.07) * jitter),
        y=float(rng.uniform(-0.07, 0.07) * jitter),
        scale=float(1 + rng.uniform(-0.1, 0.1) * jitter),
        tilt=float(rng.uniform(-0.12, 0.12) * jitter),
        variation=int(rng.integers(2**31)),
    )
