"""What the denoiser is asked to predict, and how much each timestep counts."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.training_utils import compute_snr  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor

from lora_loom.pipelines.errors import BaseModelError, SettingError

PREDICTION_TYPES = ("epsilon", "v_prediction")


def training_scheduler(pipe: Any) -> DDPMScheduler:
    """The noise schedule the base was trained with, whatever its sampler; BaseModelError for one that is not known."""
    scheduler = cast("DDPMScheduler", DDPMScheduler.from_config(pipe.scheduler.config))  # pyright: ignore[reportUnknownMemberType]
    kind = str(scheduler.config["prediction_type"])
    if kind not in PREDICTION_TYPES:
        raise BaseModelError(
            "this base predicts something the trainer does not know",
            expected=" or ".join(PREDICTION_TYPES),
            found=kind,
        )
    return scheduler


def prediction_target(scheduler: DDPMScheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """[b c h w]: the noise, or v = sqrt(abar) noise - sqrt(1 - abar) latents (arXiv:2202.00512)."""
    if scheduler.config["prediction_type"] == "epsilon":
        return noise
    return scheduler.get_velocity(latents, noise, cast("torch.IntTensor", timesteps))


def min_snr_weights(snr: Tensor, gamma: float, prediction_type: str) -> Tensor:
    """Loss weight by signal-to-noise ratio (arXiv:2303.09556): min(SNR, gamma) / SNR, for v / (SNR + 1)."""
    capped = snr.clamp(max=gamma)
    return capped / snr if prediction_type == "epsilon" else capped / (snr + 1.0)


def timestep_weights(scheduler: DDPMScheduler, gamma: float) -> Tensor | None:
    """Weight of every timestep [T], None when min-SNR is off.

    SettingError where the schedule ends without any signal: there the weight of v is exactly zero and that of the noise
    is 0 / 0, so the step that decides the layout of the picture would not be trained.
    """
    if gamma == 0.0:
        return None
    num_timesteps = int(scheduler.config["num_train_timesteps"])
    snr = cast("Tensor", compute_snr(scheduler, torch.arange(num_timesteps)))
    if float(snr.min()) < 1e-6:
        raise SettingError(
            "min_snr_gamma does not work with this base: its noise schedule ends at a signal-to-noise ratio of zero, "
            "where the min-SNR weight vanishes and the layout of the picture would never be trained",
            expected="0 (off)",
            found=f"{gamma:g}",
            remedy="leave min_snr_gamma off",
        )
    return min_snr_weights(snr, gamma, str(scheduler.config["prediction_type"]))
