"""HiDream-I1: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="hidream",
    title="HiDream",
    runs=False,
    pipelines=PipelineNames(text="HiDreamImagePipeline"),
    denoiser="HiDreamImageTransformer2DModel",
    claims=r"hi[-_ ]?dream",
    evidence=(
        Sign(r"(?:double|single)_stream_blocks[._]\d+[._]block", "it has the stream blocks of HiDream", weight=5),
    ),
)
