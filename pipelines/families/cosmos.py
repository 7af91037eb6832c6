"""Cosmos Predict, and Anima on its blocks: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="cosmos",
    title="Cosmos or Anima",
    runs=False,
    pipelines=PipelineNames(
        text="Cosmos2TextToImagePipeline",
        others=("CosmosTextToWorldPipeline", "CosmosVideoToWorldPipeline", "Cosmos2VideoToWorldPipeline"),
    ),
    denoiser="CosmosTransformer3DModel",
    claims=r"cosmos|(?:^|[^a-z])anima(?![a-z])",
    evidence=(
        Sign(
            rf"{builds.LONE_BLOCK}(?:self_attn|cross_attn)[._](?:[qkv]_proj|output_proj)[._]|llm_adapter[._]|adaln_modulation_self_attn",
            "it has the blocks of Cosmos",
            weight=6,
        ),
        Sign(
            rf"{builds.JOINT_BLOCK}\d+[._]norm[123][._]linear_[12][._]|blocks[._]block\d+[._]blocks[._]",
            "it has the blocks of Cosmos",
            weight=5,
        ),
        Sign(
            rf"{builds.JOINT_BLOCK}\d+[._]attn2[._]to_[kv][._]{builds.DOWN}",
            "its blocks attend to a text of width {width}",
            without=builds.UNET_BUILD,
            widths=(1024,),
            weight=5,
        ),
    ),
)
