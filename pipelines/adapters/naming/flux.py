"""The names of FLUX.1's original code (`double_blocks.3.img_attn.qkv`), from the layers of a FluxTransformer2DModel."""

from __future__ import annotations

from collections.abc import Mapping

from lora_loom.pipelines.adapters.naming.fused import Names, fused, halves_swapped, plain
from lora_loom.pipelines.adapters.places import ModuleShape

_OUTSIDE_BLOCKS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_IN_DOUBLE = {
    "img_attn.proj": "attn.to_out.0",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "img_mod.lin": "norm1.linear",
    "txt_attn.proj": "attn.to_add_out",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "txt_mod.lin": "norm1_context.linear",
}
_IN_SINGLE = {"linear2": "proj_out", "modulation.lin": "norm.linear"}
_IMAGE_QKV = ("attn.to_q", "attn.to_k", "attn.to_v")
_TEXT_QKV = ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")


def flux_names(modules: Mapping[str, ModuleShape]) -> Names:
    """The original name of every layer, with the fused projections spread over diffusers' separate ones."""
    names = plain(_OUTSIDE_BLOCKS, modules) | halves_swapped(
        "final_layer.adaLN_modulation.1", "norm_out.linear", modules
    )
    blocks = {tuple(path.split(".", 2)[:2]) for path in modules if path.startswith(("transformer_", "single_"))}
    for kind, index in sorted(blocks):
        here = f"{kind}.{index}"
        if kind == "transformer_blocks":
            there = f"double_blocks.{index}"
            names |= plain({f"{there}.{name}": f"{here}.{path}" for name, path in _IN_DOUBLE.items()}, modules)
            names |= fused(f"{there}.img_attn.qkv", [f"{here}.{path}" for path in _IMAGE_QKV], modules)
            names |= fused(f"{there}.txt_attn.qkv", [f"{here}.{path}" for path in _TEXT_QKV], modules)
        else:
            there = f"single_blocks.{index}"
            names |= plain({f"{there}.{name}": f"{here}.{path}" for name, path in _IN_SINGLE.items()}, modules)
            names |= fused(f"{there}.linear1", [f"{here}.{path}" for path in (*_IMAGE_QKV, "proj_mlp")], modules)
            # XLabs and USO train only the attention rows of linear1.
            names |= fused(f"{there}.linear1_qkv", [f"{here}.{path}" for path in _IMAGE_QKV], modules)
    return names
