"""kohya's names, also of LyCORIS, OneTrainer and SimpleTuner: one word per module, with underscores for its dots.

`lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight`, or SDXL's `lora_unet_input_blocks_4_1_proj_in`, SD3's
`lora_unet_joint_blocks_0_x_block_attn_qkv`, FLUX's `lora_unet_double_blocks_0_img_attn_qkv`. Underscores cannot be
turned back into dots by rule, so the word is looked up among the base's own names.
"""

from __future__ import annotations

from collections.abc import Collection

from lora_loom.pipelines.adapters.encoder_names import components_by_prefix
from lora_loom.pipelines.adapters.file_keys import ParsedKeys, group_modules, split_part
from lora_loom.pipelines.adapters.places import Place
from lora_loom.pipelines.adapters.target import BaseTarget

NAME = "kohya"

_DENOISERS = ("lora_unet_", "lora_transformer_", "lycoris_")
_PREFIXES = (*_DENOISERS, *components_by_prefix("kohya", None))


def detect(keys: Collection[str]) -> float:
    named = [key for key in keys if key.startswith(_PREFIXES) and "." in key and "." not in _stem(key)]
    return len(named) / max(1, len(keys))


def parse(keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
    components = {**dict.fromkeys(_DENOISERS, "denoiser"), **components_by_prefix("kohya", target)}

    def locate(key: str) -> tuple[str, str, str] | None:
        split = split_part(key)
        if split is None:
            return None
        prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), None)
        if prefix is None:
            return None
        return components[prefix], split[0].removeprefix(prefix), split[1]

    def places(component: str, name: str) -> tuple[Place, ...]:
        return target.find(component, name, underscored=True) if target else ()

    return group_modules(keys, locate, places)


def _stem(key: str) -> str:
    split = split_part(key)
    return split[0] if split else "."
