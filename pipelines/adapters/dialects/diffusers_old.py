"""The names that diffusers wrote before PEFT: LoRA as attention processors, `....processor.to_q_lora.down.weight`.

Later ones say `....to_q.lora.down.weight`, and `lora_linear_layer` in text encoders. diffusers still converts all of
them, so its own tables are used on the names.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from lora_loom.pipelines.adapters.dialects import peft
from lora_loom.pipelines.adapters.file_keys import FileModule, ParsedKeys
from lora_loom.pipelines.adapters.target import TEXT_ENCODERS, BaseTarget

NAME = "diffusers-old"

_SIGNS = (".lora.down.", ".lora.up.", "_lora.down.", "_lora.up.", ".lora_linear_layer.")


def detect(keys: Collection[str]) -> float:
    return sum(any(sign in key for sign in _SIGNS) for key in keys) / max(1, len(keys))


def parse(keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
    renamed = _renamed(keys)
    parsed = peft.parse(list(renamed), target)
    modules = [
        FileModule(
            module.component, module.name, {part: renamed[key] for part, key in module.keys.items()}, module.places
        )
        for module in parsed.modules
    ]
    unknown = [renamed[key] for key in parsed.unknown]
    lost = set(keys) - set(renamed.values())  # two old names for one new one
    return ParsedKeys(tuple(modules), (*unknown, *sorted(lost)))


def _renamed(keys: Collection[str]) -> dict[str, str]:
    """Old name by new name; diffusers' conversions keep the order of the keys, whatever the values are."""
    from diffusers.utils.state_dict_utils import (
        DIFFUSERS_OLD_TO_PEFT,
        DIFFUSERS_TO_PEFT,
        UNET_TO_DIFFUSERS,
        convert_state_dict,  # pyright: ignore[reportUnknownVariableType]
    )

    renamed: dict[str, str] = {}
    for key in keys:
        of_text = key.startswith(TEXT_ENCODERS) or ".self_attn." in key
        mapping = {**DIFFUSERS_OLD_TO_PEFT, **DIFFUSERS_TO_PEFT} if of_text else UNET_TO_DIFFUSERS
        (new,) = cast("dict[str, None]", convert_state_dict({key: None}, mapping))
        renamed.setdefault(new, key)
    return renamed
