"""LTX-2, which draws sound, too: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="ltx2",
    title="LTX-2",
    runs=False,
    pipelines=PipelineNames(text="LTX2Pipeline", others=("LTX2ImageToVideoPipeline", "LTX2ConditionPipeline")),
    denoiser="LTX2VideoTransformer3DModel",
    claims=r"ltx(?:v|[-_. ]?video)?[-_. ]?2(?!b)",
    evidence=(
        Sign(
            rf"{builds.JOINT_BLOCK}\d+[._]audio_|audio_to_video_attn|video_to_audio_attn|av_c(?:a|ross_attn)_|audio_patchify_proj",
            "it has the audio blocks of LTX-2",
            weight=7,
        ),
        Sign(builds.CROSS_QUERY, builds.WIDTH_WHY, without=builds.UNET_BUILD, widths=(4096,), weight=1),
    ),
)
