"""FLUX.2, recognised so that its files and pipelines are refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="flux2",
    title="FLUX.2",
    runs=False,
    pipelines=PipelineNames(text="Flux2Pipeline"),
    denoiser="Flux2Transformer2DModel",
    claims=r"flux[-_. ]?2",
    evidence=(
        Sign(
            r"double_stream_modulation|single(?:_transformer)?_blocks[._](?:3[89]|4\d)[._]",
            "its blocks are those of FLUX.2",
            weight=4,
        ),
    ),
)
