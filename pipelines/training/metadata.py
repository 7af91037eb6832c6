"""What the written file says about its training, and the sidecar that a library shows.

These fields come on top of the standard header of every LoRA file (pipelines/adapters/write.py): more of kohya's `ss_*`
and of ModelSpec 1.0.1. All values are texts, as the safetensors format wants.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lora_loom.pipelines.training.settings import LoraDescription, LoraTraining

MAX_TAGS = 500  # entries of ss_tag_frequency: the header stays small for any data set


@dataclass(frozen=True)
class TrainingFacts:
    """What came out of the run and is written down about it."""

    output_name: str
    base_name: str
    step: int
    num_pictures: int
    captions: Sequence[str]
    size: int
    prediction_type: str
    loss: float


def training_metadata(settings: LoraTraining, about: LoraDescription, facts: TrainingFacts) -> dict[str, str]:
    """The header fields that only the training knows, without empty ones."""
    fields = _kohya(settings, facts) | _modelspec(settings, about, facts)
    return {key: value for key, value in fields.items() if value}


def sidecar(settings: LoraTraining, about: LoraDescription, output_name: str) -> dict[str, Any]:
    """The JSON file beside the LoRA, with the keys that A1111 and the library read."""
    return {
        "title": about.title or output_name,
        "category": about.category,
        "description": about.description,
        "activation text": settings.trigger,
        "tags": list(about.tags),
        "preferred weight": about.preferred_weight,
    }


def _kohya(settings: LoraTraining, facts: TrainingFacts) -> dict[str, str]:
    rank = str(settings.rank)  # also the alpha of the file: the trained one is within the weights
    convolutions = {"conv_dim": rank, "conv_alpha": rank}
    tags = Counter(tag.strip() for caption in facts.captions for tag in caption.split(",") if tag.strip())
    return {
        "ss_network_args": json.dumps({} if settings.targets == "attention" else convolutions),
        "ss_sd_model_name": facts.base_name,
        "ss_learning_rate": f"{settings.learning_rate:g}",
        "ss_unet_lr": f"{settings.learning_rate:g}",
        "ss_text_encoder_lr": f"{settings.text_encoder_learning_rate:g}",
        "ss_lr_scheduler": settings.schedule,
        "ss_lr_warmup_steps": str(settings.warmup_steps),
        "ss_optimizer": "torch.optim.AdamW",
        "ss_max_grad_norm": f"{settings.max_grad_norm:g}",
        "ss_min_snr_gamma": f"{settings.min_snr_gamma:g}" if settings.min_snr_gamma else "",
        "ss_caption_dropout_rate": f"{settings.caption_dropout:g}",
        "ss_prior_loss_weight": f"{settings.prior_weight:g}" if settings.prior_weight else "",
        "ss_steps": str(facts.step),
        "ss_max_train_steps": str(settings.steps),
        "ss_total_batch_size": str(settings.batch_size * settings.accumulation),
        "ss_gradient_accumulation_steps": str(settings.accumulation),
        "ss_num_train_images": str(facts.num_pictures),
        "ss_num_reg_images": str(settings.prior_images if settings.prior_weight else 0),
        "ss_resolution": f"({facts.size}, {facts.size})",
        "ss_enable_bucket": "False",
        "ss_tag_frequency": json.dumps({facts.output_name: dict(tags.most_common(MAX_TAGS))}, ensure_ascii=False),
        "ss_mixed_precision": settings.mixed_precision,
        "ss_seed": str(settings.seed),
        "ss_loss": f"{facts.loss:.6g}",
        "ss_training_finished_at": str(datetime.now(UTC).timestamp()),
        "ss_training_comment": f"trained with alpha {settings.lora_alpha:g} at rank {settings.rank}",
    }


def _modelspec(settings: LoraTraining, about: LoraDescription, facts: TrainingFacts) -> dict[str, str]:
    return {
        "modelspec.title": about.title,
        "modelspec.description": about.description,
        "modelspec.author": about.author,
        "modelspec.license": about.licence,
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
        "modelspec.trigger_phrase": settings.trigger,
        "modelspec.tags": ", ".join(about.tags),
        "modelspec.usage_hint": f"use at a strength of about {about.preferred_weight:g}",
        "modelspec.prediction_type": {"epsilon": "epsilon", "v_prediction": "v"}[facts.prediction_type],
        "modelspec.resolution": f"{facts.size}x{facts.size}",
    }
