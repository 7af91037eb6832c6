"""What every worker needs, imported once by the process that workers are forked from."""

import importlib

for name in (
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "transformers.models.clip.modeling_clip",
    "lora_loom.pipelines.families",
    "lora_loom.pipelines.fusion_pipeline",
    "lora_loom.pipelines.generate",
    "lora_loom.studio.batch.worker",
    "lora_loom.studio.session",
):
    importlib.import_module(name)
