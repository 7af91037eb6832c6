"""The names of ai-toolkit, musubi and ComfyUI: `diffusion_model.` and the path in the original code, dots kept.

`diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight`, text encoders as `text_encoders.clip_l.transformer....`,
and the short forms `clip_l.`, `clip_g.`, `t5.` of OneTrainer.
"""

from __future__ import annotations

from collections.abc import Collection

from lora_loom.pipelines.adapters.file_keys import ParsedKeys, group_modules, split_part
from lora_loom.pipelines.adapters.places import Place
from lora_loom.pipelines.adapters.target import BaseTarget

NAME = "native"

_T5 = "t5"
_COMPONENTS = {
    "model.diffusion_model.": "denoiser",
    "diffusion_model.": "denoiser",
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": _T5,
    "clip_l.": "text_encoder",
    "clip_g.": "text_encoder_2",
    "t5.": _T5,
}
_PREFIXES = tuple(_COMPONENTS)
_BARE = ("double_blocks.", "single_blocks.", "joint_blocks.", "input_blocks.", "middle_block.", "output_blocks.")


def detect(keys: Collection[str]) -> float:
    named = [key for key in keys if key.startswith((*_PREFIXES, *_BARE)) and ".processor." not in key]
    parts = [split[1] for key in named if (split := split_part(key))]
    return sum(part != "weight" and part != "bias" for part in parts) / max(1, len(keys))


def parse(keys: Collection[str], target: BaseTarget | None) -> ParsedKeys:
    t5 = target.t5_component() if target else "text_encoder_3"

    def locate(key: str) -> tuple[str, str, str] | None:
        split = split_part(key)
        if split is None:
            return None
        prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), "")
        component = _COMPONENTS.get(prefix, "denoiser")
        return t5 if component == _T5 else component, split[0].removeprefix(prefix), split[1]

    def places(component: str, name: str) -> tuple[Place, ...]:
        return target.find(component, name, underscored=False) if target else ()

    return group_modules(keys, locate, places)
