"""Pictures that a gate learns from: every concept of a set at once, drawn by the world itself, with captions."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lora_loom.pipelines.errors import SettingError
from lora_loom.pipelines.training.gate_data import GateItem
from lora_loom.pipelines.training.items import TrainingItem
from lora_loom.studio.pocket.concepts import CONCEPTS, concept_caption
from lora_loom.studio.pocket.world.captions import Drop, caption
from lora_loom.studio.pocket.world.render import render
from lora_loom.studio.pocket.world.scene import Scene, sample_scene
from lora_loom.studio.testbed.sets import sets_of

_LEFT_OUT = {  # how often a caption is silent about a factor that no LoRA of the set brings
    "colour": 0.15,
    "texture": 0.3,
    "accessory": 0.05,
    "background": 0.1,
    "style": 0.1,
    "subject": 0.0,
    "companion": 0.05,
}
_FIRST_WORD = ("character", "object", "accessory", "background", "style")


def tuning_sets(names: Sequence[str], largest: int = 4) -> list[tuple[str, ...]]:
    """The tuning sets of PocketCompose of two to `largest` LoRAs that need no others than these.

    Raises SettingError where there is none. The sets of published tables are others, so a gate may learn from these.
    """
    found = [each.members for each in sets_of("tuning", range(2, largest + 1)) if set(each.members) <= set(names)]
    if not found:
        raise SettingError(
            "no set of the pocket world is made of these LoRAs",
            expected="a character and others",
            found=", ".join(names),
        )
    return found


def side_of(base: Path) -> int:
    """Side of a base's pictures in pixels, from the configuration files in its folder."""
    latents: int = json.loads((base / "unet" / "config.json").read_text(encoding="utf-8"))["sample_size"]
    vae: dict[str, Any] = json.loads((base / "vae" / "config.json").read_text(encoding="utf-8"))
    return latents * 2 ** (len(vae.get("encoder_block_out_channels") or vae["block_out_channels"]) - 1)


def composed_scene(names: Sequence[str], rng: np.random.Generator) -> Scene:
    """A scene that shows all these concepts, everything else at random. SettingError where two exclude each other."""
    fixed: dict[str, Any] = {}
    for name in names:
        if name not in CONCEPTS:
            raise SettingError(f"there is no concept {name!r}", expected=f"some of {', '.join(CONCEPTS)}")
        factor = CONCEPTS[name].factor
        if factor in fixed:
            raise SettingError(f"no picture shows both {fixed[factor]} and {name}", expected=f"one {factor} at most")
        fixed[factor] = name
    return sample_scene(rng, **fixed)


def composed_caption(names: Sequence[str], scene: Scene, rng: np.random.Generator | None = None) -> str:
    """The scene's caption with every concept's trigger word; with `rng`, other factors are left out now and then."""
    factors = {CONCEPTS[name].factor for name in names}
    drop = Drop(**{factor: 0.0 if factor in factors else share for factor, share in _LEFT_OUT.items()})
    first = next((name for name in names if CONCEPTS[name].category == "character"), None)
    if first is not None:
        return concept_caption(first, scene, rng, drop if rng is not None else None)
    return caption(scene, rng, drop) if rng is not None else caption(scene)


def composed_pictures(sets: Sequence[Sequence[str]], count: int, seed: int, size: int) -> Iterator[GateItem]:
    """`count` pictures of `size` pixels for each set; the same arguments give the same pictures."""
    for number, names in enumerate(sets):
        ordered = sorted(names, key=lambda name: _FIRST_WORD.index(CONCEPTS[name].category))
        for index in range(count):
            rng = np.random.default_rng((131, seed, number, index))
            scene = composed_scene(ordered, rng)
            picture = Image.fromarray(np.round(render(scene, size).image * 255).astype(np.uint8))
            words = composed_caption(ordered, scene, rng)
            yield GateItem(TrainingItem(picture, (words,), f"{'+'.join(ordered)} {index}"), tuple(names))
