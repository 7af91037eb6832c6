"""Chroma: FLUX.1's blocks with one network for all modulation, true guidance again, and a T5 as its only encoder.

The two halves of guidance are two calls of the denoiser, and padding is masked in the attention.
"""

from __future__ import annotations

from collections.abc import Mapping

from lora_loom.pipelines.adapters.naming.flux import flux_names
from lora_loom.pipelines.adapters.naming.fused import Names, plain
from lora_loom.pipelines.adapters.places import ModuleShape
from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Call, Defaults, Family, FileLayout, PipelineNames, Sign, Sizes

_MODULATION = "distilled_guidance_layer"
_OF_FLUX_ALONE = (  # layers that FLUX has and Chroma lacks
    r"double_stream_modulation|(?:img|txt)_mod[._]|modulation[._]lin|(?:vector|guidance|time)_in"
    r"|norm1(?:_context)?[._]linear|single_transformer_blocks[._]\d+[._]norm[._]linear|time_text_embed"
)


def chroma_names(modules: Mapping[str, ModuleShape]) -> Names:
    """FLUX's original names for the blocks, and those of the network that makes the modulation."""
    layers = {path.split(".")[2] for path in modules if path.startswith(f"{_MODULATION}.layers.")}
    inner = {
        f"{_MODULATION}.layers.{index}.{there}": f"{_MODULATION}.layers.{index}.{here}"
        for index in sorted(layers)
        for there, here in (("in_layer", "linear_1"), ("out_layer", "linear_2"))
    }
    return flux_names(modules) | plain(inner, modules)


FAMILY = Family(
    name="chroma",
    title="Chroma",
    pipelines=PipelineNames(text="ChromaPipeline", image="ChromaImg2ImgPipeline", inpaint="ChromaInpaintPipeline"),
    denoiser="ChromaTransformer2DModel",
    call=Call(mask="attention_mask", mask_after=2, **builds.TOKENS_CALL),
    guidance=builds.IN_CALLS,
    text_encoders=(builds.t5("text_encoder"),),
    blocks=builds.joint_blocks(single=True, modulation=rf"^{_MODULATION}\."),
    sets_sigmas="array",
    sizes=Sizes(latents=2),
    defaults=Defaults(steps=35, guidance=5.0, dtypes=("bfloat16", "float32")),
    claims=r"chroma",
    evidence=(
        Sign(_MODULATION, "it has the modulation network of Chroma", weight=5),
        Sign(
            builds.DOUBLE_AND_SINGLE,
            "it has the double and single blocks of Chroma",
            without=_OF_FLUX_ALONE,
            weight=1,
        ),
    ),
    build=builds.JOINT_BUILD,
    naming=chroma_names,
    layout=FileLayout(kohya="lora_transformer", version="chroma", architecture="chroma"),
    inputs=builds.TWO_STREAM_INPUTS,
    single_file=("chroma",),
    checkpoint=(*builds.TWO_STREAM_CHECKPOINT, f"{_MODULATION}."),
    replay="blocks",
)
