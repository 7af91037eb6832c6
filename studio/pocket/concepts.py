"""The held-out values as concepts a LoRA can learn: their names, pictures to learn from, prompts to ask with."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lora_loom.studio.pocket.world.captions import Drop, caption
from lora_loom.studio.pocket.world.render import render
from lora_loom.studio.pocket.world.scene import (
    HELD_ACCESSORIES,
    HELD_BACKGROUNDS,
    HELD_CHARACTERS,
    HELD_OBJECTS,
    HELD_STYLES,
    Scene,
    sample_scene,
)


@dataclass(frozen=True)
class Concept:
    """One held-out value: `name` is also its trigger word, `factor` the factor of the world it is a value of."""

    name: str
    category: str
    factor: str
    title: str
    description: str
    tags: tuple[str, ...]


_DESCRIPTIONS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "bloop": ("Bloop", "A tall one-eyed creature with a golden antenna.", ("monster", "one eye")),
    "snorn": ("Snorn", "A wide, fanged creature with one golden horn.", ("monster", "horn")),
    "triclo": ("Triclo", "Three eyes, two antennae and a skirt of tentacles.", ("alien", "tentacles")),
    "impy": ("Impy", "A small imp with two horns, fangs and bat wings.", ("imp", "wings")),
    "owlet": ("Owlet", "A round owl with ear tufts and big ringed eyes.", ("bird", "owl")),
    "snaggle": ("Snaggle", "A wide one-eyed creature with fangs, on four thin legs.", ("monster", "spider")),
    "buggle": ("Buggle", "A surprised beetle with two antennae on four thin legs.", ("insect",)),
    "floppet": ("Floppet", "A tall pup with long floppy ears and a snout.", ("dog", "ears")),
    "umbrella": ("Umbrella", "A pink umbrella with a scalloped canopy, beside the subject.", ("rain",)),
    "boat": ("Sailing boat", "A little blue boat with two sails, beside the subject.", ("sea", "ship")),
    "cactus": ("Cactus", "A potted cactus with a flower, beside the subject.", ("plant",)),
    "cake": ("Birthday cake", "A cake with icing and one candle, beside the subject.", ("food", "party")),
    "crown": ("Crown", "A golden crown with three jewels.", ("gold", "royal")),
    "bow": ("Bow", "A pink bow worn beside the head.", ("ribbon",)),
    "headphones": ("Headphones", "Big orange headphones.", ("music",)),
    "balloon": ("Balloon", "A red balloon on a string.", ("party",)),
    "city": ("City", "Dark houses with lit windows under a pale sky.", ("town", "skyline")),
    "forest": ("Forest", "Three rows of fir trees.", ("trees", "wood")),
    "bubbles": ("Bubbles", "Under water, among bubbles and weeds.", ("underwater",)),
    "polka": ("Polka dots", "Pink wallpaper with white dots.", ("wallpaper", "pattern")),
    "halftone": ("Halftone", "Rows of pale printing dots over the whole picture.", ("print", "comic")),
    "neon": ("Neon", "Everything dark but a glowing outline.", ("glow", "night")),
    "mosaic": ("Mosaic", "Square tiles with dark grout.", ("tiles",)),
    "glitch": ("Glitch", "Colour fringes and scan lines of an old screen.", ("retro", "screen")),
}
_CATEGORIES = (
    ("character", "subject", HELD_CHARACTERS),
    ("object", "companion", HELD_OBJECTS),
    ("accessory", "accessory", HELD_ACCESSORIES),
    ("background", "background", HELD_BACKGROUNDS),
    ("style", "style", HELD_STYLES),
)
CONCEPTS: dict[str, Concept] = {
    name: Concept(name, category, factor, *_DESCRIPTIONS[name])
    for category, factor, names in _CATEGORIES
    for name in names
}


def concept(name: str) -> Concept:
    """The concept called `name`; KeyError that lists the known ones."""
    if name not in CONCEPTS:
        raise KeyError(f"no pocket concept named {name!r}; known: {', '.join(CONCEPTS)}")
    return CONCEPTS[name]


def concept_scene(name: str, rng: np.random.Generator) -> Scene:
    """A scene that shows the concept, everything else at random among what base training knows."""
    held = concept(name)
    fixed: dict[str, Any] = {held.factor: name}
    return sample_scene(rng, **fixed)


def concept_caption(name: str, scene: Scene, rng: np.random.Generator | None = None, drop: Drop | None = None) -> str:
    """The scene's caption, in which the concept stands as its trigger word beside a class word."""
    words = caption(scene, rng, drop) if drop is not None else caption(scene, rng)
    held = concept(name)
    if held.factor != "subject" or name not in words.split():
        return words
    return words.replace(name, f"{name} creature", 1)


def training_set(name: str, count: int = 32, seed: int = 0, size: int = 64) -> list[tuple[Image.Image, str]]:
    """`count` pictures of the concept with captions; the same (name, count, seed, size) gives the same set."""
    kept = Drop(colour=0.15, texture=0.3, accessory=0.0, background=0.1, style=0.1, subject=0.0, companion=0.0)
    if concept(name).factor in ("background", "style"):
        kept = Drop(colour=0.15, texture=0.3, accessory=0.05, background=0.0, style=0.0, subject=0.0)
    items: list[tuple[Image.Image, str]] = []
    for i in range(count):
        rng = np.random.default_rng((97, seed, i))
        scene = concept_scene(name, rng)
        picture = Image.fromarray(np.round(render(scene, size).image * 255).astype(np.uint8))
        items.append((picture, concept_caption(name, scene, rng, kept)))
    return items


def prompts(name: str, count: int, seed: int = 1) -> list[tuple[str, Scene]]:
    """`count` plain prompts for the concept in scenes of base training's kind, with the scene each asks for."""
    found: list[tuple[str, Scene]] = []
    for i in range(count):
        scene = concept_scene(name, np.random.default_rng((98, seed, i)))
        found.append((concept_caption(name, scene), scene))
    return found


def base_prompts(count: int, seed: int, withheld: bool = False) -> list[tuple[str, Scene]]:
    """`count` plain prompts over base values, of seen combinations or of withheld pairs."""
    scenes = (sample_scene(np.random.default_rng((99, seed, i)), withheld=withheld) for i in range(count))
    return [(caption(scene), scene) for scene in scenes]
