"""AuraFlow: recognised, so that it is refused by name; Loom does not run it."""

from __future__ import annotations

from lora_loom.pipelines.families.family import Family, PipelineNames, Sign

FAMILY = Family(
    name="auraflow",
    title="AuraFlow",
    runs=False,
    pipelines=PipelineNames(text="AuraFlowPipeline"),
    denoiser="AuraFlowTransformer2DModel",
    claims=r"aura[-_. ]?flow|pony[-_. ]?v?7",
    evidence=(
        Sign(
            r"joint_transformer_blocks[._]|(?:double|single)_layers[._]\d+[._](?:attn|mlp)"
            r"|single_transformer_blocks[._]\d+[._]ff[._](?:linear_[12]|out_projection)",
            "it has the blocks of AuraFlow",
            weight=6,
        ),
    ),
)
