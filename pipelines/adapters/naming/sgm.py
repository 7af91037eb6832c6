"""The U-Net names of the original Stable Diffusion code (`input_blocks.4.1....`), from a diffusers U-Net's layers.

Both count alike: with L resnets per down block, every block is L + 1 numbered places, the last of which is the
downsampler.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lora_loom.pipelines.adapters.places import ModuleShape, Place

_IN_RESNET = {
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
_MIDDLE = {"resnets.0": "middle_block.0", "attentions.0": "middle_block.1", "resnets.1": "middle_block.2"}
_BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")
_MIDDLE_BLOCK = re.compile(r"mid_block\.((?:resnets|attentions)\.\d+)\.(.+)")


def sgm_names(modules: Mapping[str, ModuleShape]) -> dict[str, tuple[Place, ...]]:
    """The original name of every layer that has one."""
    places_per_block = 1 + max(
        int(path.split(".")[3]) + 1 for path in modules if path.startswith("down_blocks.0.resnets.")
    )
    attentive = {path.split(".")[1] for path in modules if path.startswith("up_blocks.") and ".attentions." in path}
    names: dict[str, tuple[Place, ...]] = {}
    for path in modules:
        name = _sgm_name(path, places_per_block, attentive)
        if name is not None:
            names[name] = (Place(path),)
    return names


def _sgm_name(path: str, places_per_block: int, attentive: set[str]) -> str | None:
    if path in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[path]
    if match := _MIDDLE_BLOCK.fullmatch(path):
        part, inner = match.groups()
        return f"{_MIDDLE[part]}.{_IN_RESNET.get(inner, inner)}" if part in _MIDDLE else None
    if match := _BLOCK.fullmatch(path):
        side, block, part, layer, inner = match.groups()
        first = int(block) * places_per_block
        if part == "downsamplers":
            return f"input_blocks.{first + places_per_block}.0.op"
        if part == "upsamplers":  # shares the place of the block's last resnet, after its attention if there is one
            return f"output_blocks.{first + places_per_block - 1}.{2 if block in attentive else 1}.{inner}"
        place = f"input_blocks.{1 + first + int(layer)}" if side == "down" else f"output_blocks.{first + int(layer)}"
        return f"{place}.1.{inner}" if part == "attentions" else f"{place}.0.{_IN_RESNET.get(inner, inner)}"
    return None
