"""FLUX.2 dev and klein: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="flux2",
    title="FLUX.2",
    runs=False,
    pipelines=PipelineNames(
        text="Flux2Pipeline", others=("Flux2KleinPipeline", "Flux2KleinInpaintPipeline", "Flux2KleinKVPipeline")
    ),
    denoiser="Flux2Transformer2DModel",
    claims=r"flux[-_. ]?2|klein",
    evidence=(
        Sign(
            r"(?:double|single)_stream_modulation|to_qkv_mlp_proj|transformer_blocks[._]\d+[._]ff(?:_context)?[._]linear_(?:in|out)",
            "its blocks are those of FLUX.2",
            weight=6,
        ),
        Sign(
            rf"single_blocks[._]\d+[._]linear2[._]{builds.DOWN}",
            "its single blocks are those of FLUX.2, with {width} inputs behind both parts",
            widths=(12288, 16384, 24576),
            weight=6,
        ),
        Sign(
            rf"(?:double_blocks[._]\d+[._](?:img|txt)_attn[._]qkv|single_blocks[._]\d+[._]linear1)[._]{builds.DOWN}",
            builds.WIDTH_WHY,
            widths=(4096, 6144),
            weight=6,
        ),
        Sign(
            rf"double_blocks[._]\d+[._](?:img|txt)_mlp[._]2[._]{builds.DOWN}",
            "its feed-forward layers have {width} inputs",
            widths=(9216, 18432),
            weight=5,
        ),
        Sign(
            r"single(?:_transformer)?_blocks[._](?:3[89]|4\d)[._]",
            "its blocks are those of FLUX.2",
            weight=4,
        ),
    ),
)
