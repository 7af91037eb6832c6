"""All names of a model's layers: diffusers' own, those of the original code, and both with underscores for dots.

The index is made from the base at hand, so a name either is one of its layers' or it is not: nothing is guessed from
underscores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_loom.pipelines.adapters.naming.flux import flux_names
from lora_loom.pipelines.adapters.naming.mmdit import mmdit_names
from lora_loom.pipelines.adapters.naming.sgm import sgm_names
from lora_loom.pipelines.adapters.places import ModuleShape, Place

Names = dict[str, tuple[Place, ...]]


@dataclass(frozen=True)
class NameIndex:
    dotted: Mapping[str, tuple[Place, ...]]
    underscored: Mapping[str, tuple[Place, ...]]


def index_names(component: str, modules: Mapping[str, ModuleShape]) -> NameIndex:
    """The index of one component; an underscored name that two layers share is left out, as it says nothing."""
    own: Names = {path: (Place(path),) for path in modules}
    foreign = _denoiser_names(modules) if component == "denoiser" else _text_encoder_names(modules)
    dotted = {**foreign, **own}
    underscored: Names = {}
    ambiguous: set[str] = set()
    for name, places in dotted.items():
        flat = name.replace(".", "_")
        if underscored.setdefault(flat, places) != places:
            ambiguous.add(flat)
    return NameIndex(dotted, {name: places for name, places in underscored.items() if name not in ambiguous})


def _denoiser_names(modules: Mapping[str, ModuleShape]) -> Names:
    if "down_blocks.0.resnets.0.conv1" in modules:
        return sgm_names(modules)
    if any(path.startswith("single_transformer_blocks.") for path in modules):
        return flux_names(modules)
    if any(path.startswith("transformer_blocks.") for path in modules):
        return mmdit_names(modules)
    return {}


def _text_encoder_names(modules: Mapping[str, ModuleShape]) -> Names:
    """CLIP with and without its outer `text_model`: files have it, transformers 5 dropped it from CLIPTextModel."""
    prefix = "text_model."
    names: Names = {path.removeprefix(prefix): (Place(path),) for path in modules}
    return names | {f"{prefix}{path.removeprefix(prefix)}": (Place(path),) for path in modules}
