"""Z-Image: a transformer of one stream, the text behind the picture, that predicts the velocity towards the picture.

Samples and prompts are lists of one tensor each, prompts of their own lengths; both parts are padded to multiples of 32
tokens. The denoiser is told the share of signal, so time runs up, and guidance s is pos + s (pos - neg), off at 0.
"""

from __future__ import annotations

from collections.abc import Mapping

from lora_loom.pipelines.adapters.naming.fused import Names, fused, plain
from lora_loom.pipelines.adapters.places import ModuleShape
from lora_loom.pipelines.families.family import (
    Blocks,
    Call,
    Defaults,
    Family,
    FileLayout,
    Guidance,
    PipelineNames,
    Sign,
    Sizes,
    TextEncoder,
    thirds,
)

_STACKS = ("noise_refiner", "layers")
_OF_TEXT = r"^(context_refiner|cap_embedder)\."
_LAST = r"^all_final_layer\."
_IN_BLOCK = r"(?:layers|noise_refiner|context_refiner)[._]\d+[._]attention[._]"
_OUTSIDE_BLOCKS = {  # of patches of 2 x 2, the only ones there are
    "x_embedder": "all_x_embedder.2-1",
    "final_layer.linear": "all_final_layer.2-1.linear",
    "final_layer.adaLN_modulation.1": "all_final_layer.2-1.adaLN_modulation.1",
}


def zimage_names(modules: Mapping[str, ModuleShape]) -> Names:
    """The names of the original code, whose attention has one layer for query, key and value."""
    names = plain(_OUTSIDE_BLOCKS, modules)
    for path in modules:
        if path.endswith(".attention.to_q"):
            attention = path.removesuffix(".to_q")
            names |= fused(f"{attention}.qkv", [f"{attention}.to_{part}" for part in "qkv"], modules)
            names |= plain({f"{attention}.out": f"{attention}.to_out.0"}, modules)
    return names


FAMILY = Family(
    name="zimage",
    title="Z-Image",
    pipelines=PipelineNames(
        text="ZImagePipeline",
        image="ZImageImg2ImgPipeline",
        inpaint="ZImageInpaintPipeline",
        control="ZImageControlNetPipeline",
    ),
    denoiser="ZImageTransformer2DModel",
    call=Call(sample="x", timestep="t", unit="signal", states="cap_feats", text=("cap_feats",), listed=True),
    guidance=Guidance(off=0.0, halves="positive first"),
    text_encoders=(TextEncoder("text_encoder"),),  # a language model, which no trainer of LoRAs touches
    blocks=Blocks(
        stacks=_STACKS,
        last=_LAST,
        groups={
            "refiner": r"^(noise|context)_refiner\.",
            "main": r"^layers\.",
            "attention": r"\.attention\.",
            "feed_forward": r"\.feed_forward\.",
            "text_stream": _OF_TEXT,
            "modulation": r"\.adaLN_modulation\.",
        },
        roles=thirds(_STACKS, _LAST),
        text=_OF_TEXT,
        patch=2,
        joined={"noise_refiner": "after", "layers": "after"},  # behind a refiner's tokens there is only padding
        attention=r"\.attention\.",
        feed_forward=r"\.feed_forward\.",
        text_stream=_OF_TEXT,
    ),
    sets_sigmas="list",
    sizes=Sizes(latents=2),
    defaults=Defaults(steps=50, guidance=5.0, dtypes=("bfloat16", "float32")),
    claims=r"z[-_ ]?image",
    evidence=(
        Sign(rf"{_IN_BLOCK}to_[qkv]", "it has the blocks of Z-Image", weight=3),
        Sign(rf"{_IN_BLOCK}qkv[._](?:lora_A|lora_down|lora\.down)", "its blocks have width {width}", widths=(3840,)),
    ),
    build=rf"{_IN_BLOCK}|cap_embedder",
    naming=zimage_names,
    layout=FileLayout(version="zimage", architecture="z-image"),
    inputs=("all_x_embedder.2-1",),
    replay="blocks",
)
