"""The names of SD3's original code (`joint_blocks.3.x_block.attn.qkv`), from the layers of an SD3Transformer2DModel."""

from __future__ import annotations

from collections.abc import Mapping

from lora_loom.pipelines.adapters.naming.fused import Names, fused, halves_swapped, plain
from lora_loom.pipelines.adapters.places import ModuleShape

_OUTSIDE_BLOCKS = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_IN_BLOCK = {
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.proj": "attn2.to_out.0",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "x_block.adaLN_modulation.1": "norm1.linear",
    "context_block.attn.proj": "attn.to_add_out",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}
_QKV = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}


def mmdit_names(modules: Mapping[str, ModuleShape]) -> Names:
    """The original name of every layer, with the fused projections spread over diffusers' separate ones."""
    names = plain(_OUTSIDE_BLOCKS, modules) | halves_swapped(
        "final_layer.adaLN_modulation.1", "norm_out.linear", modules
    )
    for index in {path.split(".", 2)[1] for path in modules if path.startswith("transformer_blocks.")}:
        here, there = f"transformer_blocks.{index}", f"joint_blocks.{index}"
        names |= plain({f"{there}.{name}": f"{here}.{path}" for name, path in _IN_BLOCK.items()}, modules)
        for name, paths in _QKV.items():
            names |= fused(f"{there}.{name}", [f"{here}.{path}" for path in paths], modules)
        # The last block's text stream ends after attention: its modulation is shift and scale alone.
        ends_here = f"{here}.ff_context.net.2" not in modules
        modulation = (f"{there}.context_block.adaLN_modulation.1", f"{here}.norm1_context.linear")
        names |= halves_swapped(*modulation, modules) if ends_here else plain(dict([modulation]), modules)
    return names
