"""What several families have in common: the U-Net of Stable Diffusion, and transformers that join text and picture.

Roles of a U-Net: `structure` is the way down and the middle, `identity` the first half of the way up, `style` the rest,
as coarse layers decide shape and fine ones appearance (P+, arXiv:2303.09522).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from lora_loom.pipelines.families.family import Blocks, Call, Guidance, Roles, Sizes, TextEncoder, thirds

CLIP_L = TextEncoder("text_encoder", ("lora_te1", "lora_te"), ("text_encoders.clip_l.transformer", "clip_l"))
CLIP_G = TextEncoder("text_encoder_2", ("lora_te2",), ("text_encoders.clip_g.transformer", "clip_g"))


def t5(component: str, *others: str) -> TextEncoder:
    """A T5 at its place in the pipeline; `others` are further prefixes that kohya's trainers have for it."""
    return TextEncoder(component, ("lora_te3", *others), ("text_encoders.t5xxl.transformer", "t5"))


# -- the U-Net ---------------------------------------------------------------------------------------------------------

UNET = "UNet2DConditionModel"
UNET_BUILD = r"(?:^|[._])(?:down|up|mid|input|output|middle)_blocks?[._]"
UNET_CHECKPOINT = ("input_blocks.", "middle_block.", "output_blocks.")
CONTEXT_INPUT = (
    r"attn2[._]to_[kv][._](?:processor[._])?(?:lora_A|lora_down|lora\.down|hada_w1_b)"
    r"|attn2\.processor\.to_[kv]_lora\.down"
)
CONTEXT_LAYER = r"^denoiser\..*\.attn2\.to_k$"
TWO_ENCODERS = r"lora_te2_|text_encoder_2\.|add_embedding|label_emb"
SECOND_CONDITIONING = r"^denoiser\.add_embedding\.linear_1$|^text_encoder_2\."
CONTEXT_WHY = "its U-Net attends to a text of width {width}"
UNET_SIZES = Sizes(latents=1, pixels=8, trained=(512,))
UNET_GROUPS: Mapping[str, str] = {
    "down": r"^(down_blocks|conv_in)(\.|$)",
    "mid": r"^mid_block\.",
    "up": r"^(up_blocks|conv_out)(\.|$)",
    "self_attention": r"\.attn1\.",
    "cross_attention": r"\.attn2\.",
    "feed_forward": r"\.ff\.",
    "convolution": r"^conv_(in|out)$|\.conv\w*$",
}


def unet_call(*text: str) -> Call:
    return Call(sample="sample", text=("encoder_hidden_states", *text))


def unet_roles(style: str = "", ups: int = 0) -> Roles:
    """`style` begins the paths that join `style` in a model of `ups` up blocks."""

    def of_model(model: Any) -> Callable[[str], str]:
        coarse, special = len(model.up_blocks) // 2, bool(style) and len(model.up_blocks) == ups

        def role(path: str) -> str:
            if special and path.startswith(style):
                return "style"
            if found := re.match(r"up_blocks\.(\d+)\.", path):
                return "identity" if int(found[1]) < coarse else "style"
            return "style" if path == "conv_out" else "structure"

        return role

    return of_model


def unet_blocks(roles: Roles) -> Blocks:
    return Blocks(
        stacks=("down_blocks", "mid_block", "up_blocks"),
        around=True,
        last=r"^conv_out(\.|$)",
        groups=UNET_GROUPS,
        roles=roles,
        text=r"^(down|mid|up)_block.*\.attn2\.to_[kv]$",
        crossing=r"\.attn2\.",
    )


# -- names in files of transformers that Loom only recognises ----------------------------------------------------------

DOWN = r"(?:lora_A|lora_down|lora\.down|hada_w1_b)"  # the factor whose second side is the width of a layer's input
JOINT_BLOCK = r"(?<!single_)(?<!joint_)transformer_blocks[._]"
LONE_BLOCK = r"(?<!transformer_)(?<!double_)(?<!single_)(?<!stream_)blocks[._]\d+[._]"
CROSS_QUERY = rf"{JOINT_BLOCK}\d+[._](?:attn1[._]to_[qkv]|attn2[._]to_q)[._]{DOWN}"
WIDTH_WHY = "its blocks have width {width}"

# -- transformers of a stream for the picture and one for the text -----------------------------------------------------

DOUBLE, SINGLE = "transformer_blocks", "single_transformer_blocks"
JOINT_BUILD = r"add_[qkv]_proj|ff_context|(?:^|transformer\.)transformer_blocks[._]"
JOINT_QUERY = r"transformer_blocks[._]\d+[._]attn[._]to_q[._](?:lora_A|lora_down|lora\.down)"
DOUBLE_AND_SINGLE = r"single_transformer_blocks|(?:^|[._])(?:double|single)_blocks[._]"
TWO_STREAM_CHECKPOINT = ("double_blocks.", "single_blocks.")
TWO_STREAM_INPUTS = ("x_embedder",)
TOKENS_CALL: Mapping[str, Any] = {"unit": "share", "positions": "img_ids", "unbatched": ("img_ids", "txt_ids")}
IN_CALLS = Guidance(halves="calls")
_TEXT_STREAM = r"\.(add_[qkv]_proj|to_add_out|ff_context|norm1_context)(\.|$)|^context_embedder$"
_LAST_LAYERS = r"^(proj_out|norm_out\.linear)$"
_JOINT_GROUPS: Mapping[str, str] = {
    "double": r"^transformer_blocks\.",
    "single": r"^single_transformer_blocks\.",
    "attention": r"\.attn2?\.",
    "feed_forward": r"\.(ff|ff_context)\.|\.proj_mlp$|^single_transformer_blocks\.\d+\.proj_out$",
    "text_stream": _TEXT_STREAM,
    "modulation": r"\.norm\w*\.linear$|^norm_out\.linear$",
}


def joint_blocks(*, single: bool, **groups: str) -> Blocks:
    """Blocks of two streams, and with `single` those of one behind them; `groups` are those that differ."""
    stacks = (DOUBLE, SINGLE) if single else (DOUBLE,)
    return Blocks(
        stacks=stacks,
        groups={**_JOINT_GROUPS, **groups},
        roles=thirds(stacks, _LAST_LAYERS),
        text=_TEXT_STREAM,
        joined={SINGLE: "before"} if single else {},
        feed_forward=r"\.ff\.|\.proj_mlp$|^single_transformer_blocks\.\d+\.proj_out$",
        text_stream=r"\.(add_[qkv]_proj|to_add_out|ff_context)(\.|$)",
    )
