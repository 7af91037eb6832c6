"""What every worker needs, imported once by the process that workers are forked from."""

import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion
import transformers.models.clip.modeling_clip

import pipelines.families
import pipelines.generate
import studio.batch.worker
import studio.session  # noqa: F401
