"""XLabs' names for FLUX, also of USO: attention processors, `lora1` for the image stream and `lora2` for the text.

`double_blocks.0.processor.qkv_lora1.down.weight`. There is no alpha; the fused query, key and value share one down
matrix.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from lora_loom.pipelines.adapters.file_keys import ParsedKeys, group_modules
from lora_loom.pipelines.adapters.places import Place
from lora_loom.pipelines.adapters.target import BaseTarget

NAME = "xlabs"

_KEY = re.compile(
    r"(?:diffusion_model\.)?(?P<block>(?:double|single)_blocks\.\d+)\.processor\."
    r"(?P<layer>\w+)\.(?P<part>down|up)\.weight"
)
_DOUBLE = {
    "qkv_lora1": "img_attn.qkv",
    "qkv_lora2": "txt_attn.qkv",
    "proj_lora1": "img_attn.proj",
    "proj_lora2": "txt_attn.proj",
}
_SINGLE = {"qkv_lora": "linear1_qkv", "proj_lora": "linear2"}


def detect(keys: Collection[str]) -> float:
    return sum(_KEY.fullmatch(key) is not None for key in keys) / max(1, len(keys))


def parse(keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
    def locate(key: str) -> tuple[str, str, str] | None:
        match = _KEY.fullmatch(key)
        if match is None:
            return None
        block, layer, part = match["block"], match["layer"], match["part"]
        name = (_DOUBLE if block.startswith("double") else _SINGLE).get(layer)
        return ("denoiser", f"{block}.{name}", part) if name else None

    def places(component: str, name: str) -> tuple[Place, ...]:
        return target.find(component, name, underscored=False) if target else ()

    return group_modules(keys, locate, places)
