"""What every worker needs, imported once by the process that workers are forked from."""

import importlib

for name in (
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "transformers.models.clip.modeling_clip",
    "pipelines.families",
    "pipelines.generate",
    "studio.batch.worker",
    "studio.session",
):
    importlib.import_module(name)
