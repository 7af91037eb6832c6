"""Krea 2: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families import builds
from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="krea2",
    title="Krea 2",
    runs=False,
    pipelines=PipelineNames(text="Krea2Pipeline"),
    denoiser="Krea2Transformer2DModel",
    claims=r"krea[-_. ]?2(?!\d)",
    evidence=(
        Sign(
            rf"{builds.LONE_BLOCK}(?:attn[._](?:w[qkvo]|gate)|mlp[._](?:gate|up|down))[._]|txtfusion[._]",
            "its blocks are those of Krea 2",
            weight=5,
        ),
        Sign(
            rf"{builds.JOINT_BLOCK}\d+[._](?:attn[._]to_gate|ff[._](?:gate|up|down))[._]|text_fusion[._]|time_mod_proj",
            "its blocks are those of Krea 2",
            weight=5,
        ),
    ),
)
