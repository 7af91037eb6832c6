"""HunyuanVideo, also 1.5 and FramePack: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="hunyuan_video",
    title="HunyuanVideo",
    runs=False,
    pipelines=PipelineNames(
        text="HunyuanVideoPipeline",
        others=("HunyuanVideoImageToVideoPipeline", "HunyuanVideoFramepackPipeline", "HunyuanVideo15Pipeline"),
    ),
    denoiser="HunyuanVideoTransformer3DModel",
    claims=r"hunyuan[-_. ]?video|frame[-_ ]?pack",
    evidence=(
        Sign(
            r"double_blocks\.\d+\.(?:img|txt)_attn_(?:qkv|proj)|double_blocks[._]\d+[._](?:img|txt)_mlp[._]fc[12]"
            r"|(?:img|txt)_mod[._]linear|single_blocks[._]\d+[._]modulation[._]linear|token_refiner[._]",
            "its blocks are those of HunyuanVideo",
            weight=5,
        ),
        Sign(
            rf"single(?:_transformer)?_blocks[._]3[89][._](?:linear1|attn[._]to_q|proj_mlp)[._]{builds.DOWN}",
            "it has 40 single blocks, of width {width}",
            without=r"single(?:_transformer)?_blocks[._]4\d[._]",
            widths=(3072,),
            weight=5,
        ),
        Sign(r"double_blocks[._](?:[2-5]\d)[._]", "it has more than 20 double blocks", weight=5),
        Sign(
            builds.JOINT_QUERY,
            "its joint blocks have width {width}",
            without=builds.UNET_BUILD,
            widths=(2048,),
            weight=1,
        ),
    ),
)
