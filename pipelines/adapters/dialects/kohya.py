"""kohya's names, also of LyCORIS, OneTrainer and SimpleTuner: one word per module, with underscores for its dots.

`lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight`, or SDXL's `lora_unet_input_blocks_4_1_proj_in`, SD3's
`lora_unet_joint_blocks_0_x_block_attn_qkv`, FLUX's `lora_unet_double_blocks_0_img_attn_qkv`. Underscores cannot be
turned back into dots by rule, so the word is looked up among the base's own names.

Converters leave some names half done, `lora_te1.text_model.encoder...` or a DoRA's magnitudes under
`lora_unet_..._attn2.to_q`. All dots become underscores here, so those parts find the others of their module.
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
_STARTS = tuple(prefix[:-1] for prefix in _PREFIXES)


def detect(keys: Collection[str]) -> float:
    return sum(_flat(key) is not None for key in keys) / max(1, len(keys))


def parse(keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
    components = {**dict.fromkeys(_DENOISERS, "denoiser"), **components_by_prefix("kohya", target)}

    def locate(key: str) -> tuple[str, str, str] | None:
        found = _flat(key)
        return (components[found[0]], *found[1:]) if found else None

    def places(component: str, name: str) -> tuple[Place, ...]:
        return target.find(component, name, underscored=True) if target else ()

    return group_modules(keys, locate, places)


def _flat(key: str) -> tuple[str, str, str] | None:
    """(prefix, module, part) with underscores for every dot of the first two, None for a key that is not kohya's."""
    if not key.startswith(_STARTS):
        return None
    split = split_part(key)
    if split is None:
        return None
    stem = split[0].replace(".", "_")
    prefix = next((prefix for prefix in _PREFIXES if stem.startswith(prefix)), None)
    return (prefix, stem.removeprefix(prefix), split[1]) if prefix else None
