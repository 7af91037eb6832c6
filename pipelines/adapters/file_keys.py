"""The keys of a LoRA file taken apart: the module of the network that each belongs to, and the part that it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_loom.pipelines.adapters.places import Place

_LYCORIS = (
    *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t1", "lokr_t2"),
)
_NOT_LOW_RANK = (
    *("on_input", "weight", "diff", "diff_b", "w_norm", "b_norm", "bias", "scale", "scalar"),
    *("oft_blocks", "oft_diag", "oft_r", "rescale", "set_weight", "reshape_weight"),
    *("bias_indices", "bias_values", "bias_size", "lora_embedding_A", "lora_embedding_B"),
)
# Endings of keys, longest first in the search; every writer's spelling of one part gets one name.
_PARTS: dict[str, str] = {
    **{f"{name}.weight": "down" for name in ("lora_down", "lora_A", "lora.down", "lora_linear_layer.down")},
    **{f"{name}.weight": "up" for name in ("lora_up", "lora_B", "lora.up", "lora_linear_layer.up")},
    **{f"{name}.bias": "up_bias" for name in ("lora_up", "lora_B", "lora_down", "lora_A")},
    **{f"{name}.weight": name for name in ("a1", "a2", "b1", "b2", "oft_r")},
    "lora_mid.weight": "mid",
    "alpha": "alpha",
    "dora_scale": "magnitude",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    **{name: name for name in (*_LYCORIS, *_NOT_LOW_RANK)},
}
_LONGEST = max(ending.count(".") for ending in _PARTS) + 1
_WITH_ADAPTER_NAME = {"lora_A", "lora_B", "lora_magnitude_vector", "lora_embedding_A", "lora_embedding_B", *_LYCORIS}


@dataclass(frozen=True)
class FileModule:
    """One module as the file has it: `keys` by part, and where in the base it goes.

    `name` is the module's name in the file without the prefix of its component; `places` is empty where the base has no
    such module or no base is known.
    """

    component: str  # denoiser, text_encoder, text_encoder_2, text_encoder_3
    name: str
    keys: Mapping[str, str]
    places: tuple[Place, ...] = ()


@dataclass(frozen=True)
class ParsedKeys:
    """All keys of a file: those that a dialect could place in a module, and those that it does not know."""

    modules: tuple[FileModule, ...]
    unknown: tuple[str, ...]


def split_part(key: str) -> tuple[str, str] | None:
    """(module, part) of a key such as `unet.mid.to_q.lora_A.default.weight`, None without such an ending."""
    pieces = key.rsplit(".", _LONGEST + 1)
    if len(pieces) > 2 and pieces[-1] == "weight" and pieces[-3] in _WITH_ADAPTER_NAME:
        del pieces[-2]  # PEFT puts the adapter's name before the weight
    elif len(pieces) > 2 and pieces[-2] in _WITH_ADAPTER_NAME and pieces[-1] not in ("weight", "bias"):
        del pieces[-1]
    for length in range(min(_LONGEST, len(pieces) - 1), 0, -1):
        part = _PARTS.get(".".join(pieces[-length:]))
        if part is not None:
            return ".".join(pieces[:-length]), part
    return None


def group_modules(
    keys: Iterable[str],
    locate: Callable[[str], tuple[str, str, str] | None],
    places: Callable[[str, str], tuple[Place, ...]],
) -> ParsedKeys:
    """Keys by module: `locate` gives (component, module, part) or None, `places` finds a component's module."""
    parts: dict[tuple[str, str], dict[str, str]] = {}
    unknown: list[str] = []
    for key in keys:
        found = locate(key)
        of_module = parts.setdefault(found[:2], {}) if found else {}
        if found is None or found[2] in of_module:
            unknown.append(key)
        else:
            of_module[found[2]] = key
    modules = [FileModule(component, name, of, places(component, name)) for (component, name), of in parts.items()]
    return ParsedKeys(tuple(modules), tuple(unknown))
