"""The names of ai-toolkit, musubi and ComfyUI: `diffusion_model.` and the path in the original code, dots kept.

`diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight`, text encoders as `text_encoders.clip_l.transformer....`,
and the short forms `clip_l.`, `clip_g.`, `t5.` of OneTrainer.
"""

from __future__ import annotations

from collections.abc import Collection

from lora_loom.pipelines.adapters.encoder_names import components_by_prefix
from lora_loom.pipelines.adapters.file_keys import ParsedKeys, group_modules, split_part
from lora_loom.pipelines.adapters.places import Place
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.families import families

NAME = "native"

_DENOISERS = ("model.diffusion_model.", "diffusion_model.")
_PREFIXES = (*_DENOISERS, *components_by_prefix("native", None))
_BARE = tuple(dict.fromkeys(start for family in families().values() for start in family.checkpoint))


def detect(keys: Collection[str]) -> float:
    named = [key for key in keys if key.startswith((*_PREFIXES, *_BARE)) and ".processor." not in key]
    parts = [split[1] for key in named if (split := split_part(key))]
    return sum(part != "weight" and part != "bias" for part in parts) / max(1, len(keys))


def parse(keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
    components = {**dict.fromkeys(_DENOISERS, "denoiser"), **components_by_prefix("native", target)}

    def locate(key: str) -> tuple[str, str, str] | None:
        split = split_part(key)
        if split is None:
            return None
        prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
        return components.get(prefix, "denoiser"), split[0].removeprefix(prefix), split[1]

    def places(component: str, name: str) -> tuple[Place, ...]:
        return target.find(component, name, underscored=False) if target else ()

    return group_modules(keys, locate, places)
