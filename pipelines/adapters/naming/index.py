"""All names of a model's layers: diffusers' own, those of the original code, and both with underscores for dots.

The index is made from the base at hand, so a name either is one of its layers' or it is not: nothing is guessed from
underscores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_loom.pipelines.adapters.places import ModuleShape, Place
from lora_loom.pipelines.families.family import Naming

Names = dict[str, tuple[Place, ...]]


@dataclass(frozen=True)
class NameIndex:
    dotted: Mapping[str, tuple[Place, ...]]
    underscored: Mapping[str, tuple[Place, ...]]


def index_names(component: str, modules: Mapping[str, ModuleShape], naming: Naming | None = None) -> NameIndex:
    """The index of one component, with `naming` for the denoiser's names in the original code.

    An underscored name that two layers share is left out, as it says nothing.
    """
    own: Names = {path: (Place(path),) for path in modules}
    of_denoiser = naming or _none
    foreign = of_denoiser(modules) if component == "denoiser" else _text_encoder_names(modules)
    dotted = {**foreign, **own}
    underscored: Names = {}
    ambiguous: set[str] = set()
    for name, places in dotted.items():
        flat = name.replace(".", "_")
        if underscored.setdefault(flat, places) != places:
            ambiguous.add(flat)
    return NameIndex(dotted, {name: places for name, places in underscored.items() if name not in ambiguous})


def _none(modules: Mapping[str, ModuleShape]) -> Names:
    return {}


def _text_encoder_names(modules: Mapping[str, ModuleShape]) -> Names:
    """CLIP with and without its outer `text_model`: files have it, transformers 5 dropped it from CLIPTextModel."""
    prefix = "text_model."
    names: Names = {path.removeprefix(prefix): (Place(path),) for path in modules}
    return names | {f"{prefix}{path.removeprefix(prefix)}": (Place(path),) for path in modules}
