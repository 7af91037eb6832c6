"""Ways to look good without composing, which the score must not reward: each makes pictures for a set from renders."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_loom.studio.pocket.world.scene import FACTORS, Scene
from lora_loom.studio.testbed.ceilings import true_render
from lora_loom.studio.testbed.sets import LoraSet

FAINT = 0.35  # how much of each render an overlay shows

Cheat = Callable[[LoraSet, int, int], NDArray[np.uint8]]  # set, seed, size -> uint8 [size size 3]


def ignores_one(asked: LoraSet, seed: int, size: int) -> NDArray[np.uint8]:
    """A perfect picture of all concepts but one, whose factor is left as base training knows it."""
    left_out = asked.members[seed % asked.k]
    return true_render(_without(asked, [left_out], seed), seed, size)


def pastes_one(asked: LoraSet, seed: int, size: int) -> NDArray[np.uint8]:
    """A picture without any concept, with a true render of the whole set pasted small into a corner."""
    picture = Image.fromarray(true_render(_without(asked, asked.members, seed), seed, size))
    stamp = Image.fromarray(true_render(asked.scene, seed, size)).resize((size * 2 // 5, size * 2 // 5))
    picture.paste(stamp, (0, 0))
    return np.asarray(picture)


def overlays_faintly(asked: LoraSet, seed: int, size: int) -> NDArray[np.uint8]:
    """The renders of every concept alone, laid over one another, each as faint as the picture then is full."""
    share = min(FAINT, 1 / asked.k)
    picture = true_render(_without(asked, asked.members, seed), seed, size) * (1 - share * asked.k)
    for name in asked.members:
        others = [other for other in asked.members if other != name]
        picture = picture + share * true_render(_without(asked, others, seed), seed + len(name), size)
    return np.round(picture).astype(np.uint8)


CHEATS: Mapping[str, Cheat] = {
    "ignores_one": ignores_one,
    "pastes_one": pastes_one,
    "overlays_faintly": overlays_faintly,
}


def _without(asked: LoraSet, left_out: list[str] | tuple[str, ...], seed: int) -> Scene:
    """The scene with base values where these concepts would be."""
    rng = np.random.default_rng(seed)
    factors = [factor for factor, name in asked.expected.items() if name in left_out]
    return replace(asked.scene, **{factor: str(rng.choice(FACTORS[factor])) for factor in factors})
