"""Which family of base models a LoRA file is for, or a base belongs to, with the evidence in words.

What a header claims comes first, names next, shapes last; but where a shape contradicts the claim, the shape is right.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lora_loom.pipelines.adapters.hostile_text import display_text
from lora_loom.pipelines.adapters.places import ModuleShape

Family = Literal["sd15", "sd2", "sdxl", "sd3", "flux", "pocket", "unknown"]

_BY_CONTEXT_WIDTH: dict[int, Family] = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
# Claims in headers, the first that matches counts; flux-2 and others are families that Loom does not run.
_CLAIMS: tuple[tuple[str, Family], ...] = (
    (r"loom-pocket|^pocket", "pocket"),
    (r"flux[-_. ]?[23]", "unknown"),
    (r"flux", "flux"),
    (r"stable-diffusion-xl|sdxl", "sdxl"),
    (r"stable-diffusion-(v)?3|^sd_?3", "sd3"),
    (r"stable-diffusion-v2|^sd_?(v)?2", "sd2"),
    (r"stable-diffusion-v1|^sd_?(v)?1", "sd15"),
)
_TWO_ENCODERS = "it is for a U-Net with two text encoders"  # names alone: weaker than a claim
_SIGNS_OF_TWO_ENCODERS = re.compile(r"lora_te2_|text_encoder_2\.|add_embedding|label_emb")
_CONTEXT_INPUT = re.compile(r"attn2[._]to_[kv][._](?:processor[._])?(?:lora_A|lora_down|lora\.down|hada_w1_b)")
_OLD_CONTEXT_INPUT = re.compile(r"attn2\.processor\.to_[kv]_lora\.down")
_DEEP_TRANSFORMER = re.compile(r"(?:attentions|blocks|block)[._]\d+[._](?:\d+[._])?transformer_blocks[._][2-9]")


@dataclass(frozen=True)
class BaseFamily:
    name: Family
    why: str


def detect_base_family(
    keys: Collection[str], shapes: Mapping[str, Sequence[int]], metadata: Mapping[str, str]
) -> BaseFamily:
    """The family that a file is for; `unknown` with a reason where the evidence does not say."""
    built = _by_build(keys, shapes)
    claimed = _by_claim(metadata)
    if claimed is None:
        return built
    if built.name in ("unknown", claimed.name) or built.why == _TWO_ENCODERS:
        return claimed
    return BaseFamily(built.name, f"{built.why}, although {claimed.why}")


def family_of_base(components: Mapping[str, Mapping[str, ModuleShape]]) -> Family:
    """The family of a base from its layers: the pocket base is a U-Net of SD1 build and another width of context."""
    denoiser = components.get("denoiser", {})
    if any(path.startswith("single_transformer_blocks.") for path in denoiser):
        return "flux"
    if any(path.startswith("transformer_blocks.") and ".add_q_proj" in path for path in denoiser):
        return "sd3"
    if "text_encoder_2" in components or "add_embedding.linear_1" in denoiser:
        return "sdxl"
    context = next((shape.weight[1] for path, shape in denoiser.items() if path.endswith(".attn2.to_k")), None)
    return _BY_CONTEXT_WIDTH.get(context, "pocket") if context is not None else "unknown"


def _by_claim(metadata: Mapping[str, str]) -> BaseFamily | None:
    for field in ("modelspec.architecture", "ss_base_model_version"):
        text = metadata.get(field, "")[:200].lower()
        for pattern, name in _CLAIMS:
            if re.search(pattern, text):
                return BaseFamily(name, f"its {field} is {display_text(text, 60)}")
    return None


def _by_build(keys: Collection[str], shapes: Mapping[str, Sequence[int]]) -> BaseFamily:
    joined = "\n".join(keys)  # one search in C over a thousand names
    if re.search(r"double_stream_modulation|single(?:_transformer)?_blocks[._](?:3[89]|4\d)[._]", joined):
        return BaseFamily("unknown", "its blocks are those of FLUX.2")
    if re.search(r"single_transformer_blocks|(?:^|[._])(?:double|single)_blocks[._]", joined, re.MULTILINE):
        return BaseFamily("flux", "it has the double and single blocks of FLUX")
    if re.search(r"joint_blocks[._]", joined):
        return BaseFamily("sd3", "it has the joint blocks of SD3")
    if re.search(r"(?:^|[._])(?:down|up|mid|input|output|middle)_blocks?[._]", joined, re.MULTILINE):
        return _unet_family(keys, shapes, joined)
    if re.search(r"add_[qkv]_proj|ff_context|(?:^|transformer\.)transformer_blocks[._]", joined, re.MULTILINE):
        return _joint_family(keys, shapes, joined)
    if re.search(r"lora_te2_|text_encoder_2\.", joined):
        return BaseFamily("unknown", "it has only text encoders, of a base with two")
    return BaseFamily("unknown", "its names and shapes do not say")


def _unet_family(keys: Collection[str], shapes: Mapping[str, Sequence[int]], joined: str) -> BaseFamily:
    for key in keys:
        if _CONTEXT_INPUT.search(key) or _OLD_CONTEXT_INPUT.search(key):
            shape = shapes.get(key, ())
            if len(shape) >= 2:
                width = shape[1]
                if width not in _BY_CONTEXT_WIDTH and _SIGNS_OF_TWO_ENCODERS.search(joined):
                    return BaseFamily("sdxl", _TWO_ENCODERS)
                family = _BY_CONTEXT_WIDTH.get(width, "pocket")
                return BaseFamily(family, f"its U-Net attends to a text of width {width}")
    if _SIGNS_OF_TWO_ENCODERS.search(joined):
        return BaseFamily("sdxl", _TWO_ENCODERS)
    if _DEEP_TRANSFORMER.search(joined):
        return BaseFamily("sdxl", "its U-Net has deep transformers")
    return BaseFamily("unknown", "it is for a U-Net, but no shape tells which")


def _joint_family(keys: Collection[str], shapes: Mapping[str, Sequence[int]], joined: str) -> BaseFamily:
    if re.search(r"pos_embed\.proj|transformer_blocks[._]\d+[._]attn2", joined):
        return BaseFamily("sd3", "it has the joint blocks of SD3")
    for key in keys:
        if re.search(r"attn[._]to_q[._](?:lora_A|lora_down|lora\.down)", key):
            width = shapes.get(key, (0, 0))[-1]
            name: Family = "flux" if width == 3072 else "sd3" if width in (1536, 2432) else "unknown"
            return BaseFamily(name, f"its joint transformer has width {width}")
    return BaseFamily("unknown", "it is for a joint transformer, SD3 or FLUX")
