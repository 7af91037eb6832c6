"""The names of diffusers and PEFT: the module's path after the component, then `lora_A` and `lora_B`.

`unet.down_blocks.0....to_q.lora_A.weight`, `transformer....`, `text_encoder_2....`, PEFT's raw `base_model.model....`,
or no prefix at all; the path may be that of the original code, as some FLUX trainers write. Some tools keep such paths
and say `lora_down` and `lora_up`.
"""

from __future__ import annotations

from collections.abc import Collection

from lora_loom.pipelines.adapters.file_keys import ParsedKeys, group_modules, split_part
from lora_loom.pipelines.adapters.places import Place
from lora_loom.pipelines.adapters.target import TEXT_ENCODERS, BaseTarget

NAME = "peft"

_COMPONENTS = {"unet": "denoiser", "transformer": "denoiser", **{name: name for name in TEXT_ENCODERS}}
_RAW = "base_model.model."
_OWN = (".lora_A.", ".lora_B.")
_SIGNS = (*_OWN, ".lora_down.", ".lora_up.", ".lora_magnitude_vector", ".hada_w", ".lokr_w", ".lora_embedding_")
_KOHYAS = ("lora_", "lycoris_")  # of which only kohya's own list tells what they are for


def detect(keys: Collection[str]) -> float:
    """Keys with a prefix count whole, bare ones half: another dialect may know better."""
    sure = 0.0
    for key in keys:
        head = key.partition(".")[0]
        if head in _COMPONENTS or key.startswith(_RAW):
            sure += any(sign in key for sign in _SIGNS)
        elif any(sign in key for sign in (_OWN if head.startswith(_KOHYAS) else _SIGNS)):
            sure += 0.5
    return sure / max(1, len(keys))


def parse(keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
    def locate(key: str) -> tuple[str, str, str] | None:
        split = split_part(key)
        if split is None:
            return None
        path, part = split
        head, _, rest = path.removeprefix(_RAW).partition(".")
        if head in _COMPONENTS and rest:
            return _COMPONENTS[head], rest, part
        name = path.removeprefix(_RAW)
        return _component_with(name, target), name, part

    def places(component: str, name: str) -> tuple[Place, ...]:
        return target.find(component, name, underscored=False) if target else ()

    return group_modules(keys, locate, places)


def _component_with(name: str, target: BaseTarget | None) -> str:
    """The component that has a module of this name, as names without a prefix do not say which they are for."""
    components = tuple(target.components) if target else ()
    known = (each for each in components if target and target.find(each, name, underscored=False))
    return next(known, "text_encoder" if ".self_attn." in name else "denoiser")
