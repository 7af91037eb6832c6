"""FLUX.1 dev and schnell: guidance-distilled, so one prediction per step."""

from __future__ import annotations

from lora_loom.pipelines.adapters.naming.flux import flux_names
from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Call, Defaults, Family, FileLayout, Guidance, PipelineNames, Sign, Sizes

# what only relatives of FLUX.1 have: Chroma's modulation from one network, FLUX.2's shared modulation and its depth
RELATIVES = (
    r"distilled_guidance_layer|double_stream_modulation"
    r"|single(?:_transformer)?_blocks[._](?:3[89]|4\d)[._]"
)

FAMILY = Family(
    name="flux",
    title="FLUX",
    pipelines=PipelineNames(
        text="FluxPipeline",
        image="FluxImg2ImgPipeline",
        inpaint="FluxInpaintPipeline",
        control="FluxControlNetPipeline",
    ),
    denoiser="FluxTransformer2DModel",
    call=Call(text=("encoder_hidden_states", "pooled_projections"), **builds.TOKENS_CALL),
    guidance=Guidance("embedded", negative_prompt=False, halves="calls"),
    text_encoders=(builds.CLIP_L, builds.t5("text_encoder_2", "lora_te2")),
    blocks=builds.joint_blocks(single=True),
    sets_sigmas="array",
    sizes=Sizes(latents=2),
    defaults=Defaults(steps=28, guidance=3.5, dtypes=("bfloat16", "float32")),
    claims=r"flux(?![-_. ]?[23])(?!.*chroma)",
    evidence=(
        Sign(builds.DOUBLE_AND_SINGLE, "it has the double and single blocks of FLUX", without=RELATIVES, weight=3),
        Sign(
            builds.JOINT_QUERY,
            "its joint transformer has width {width}",
            without=rf"{builds.UNET_BUILD}|{builds.DOUBLE_AND_SINGLE}|(?<!single_)transformer_blocks[._](?:19|[2-9]\d)[._]",
            widths=(3072,),
            weight=1,
        ),
    ),
    build=builds.JOINT_BUILD,
    naming=flux_names,
    layout=FileLayout(kohya="lora_transformer", version="flux1", architecture="flux-1-dev"),
    inputs=builds.TWO_STREAM_INPUTS,
    single_file=("flux-dev", "flux-schnell"),
    checkpoint=builds.TWO_STREAM_CHECKPOINT,
    replay="blocks",
)
