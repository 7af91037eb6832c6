"""Trainer: the state of a training between two steps, and the step itself."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor, nn

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.attach import lora_parameters
from lora_loom.pipelines.training.captions import TextStates, encode_captions
from lora_loom.pipelines.training.checkpoint import Checkpoint, optimiser_moments, restore_moments
from lora_loom.pipelines.training.data import TrainingData
from lora_loom.pipelines.training.draws import Draws
from lora_loom.pipelines.training.load_check import added_conditions
from lora_loom.pipelines.training.machine import average_gradients, mean_over_processes
from lora_loom.pipelines.training.objective import prediction_target, timestep_weights, training_scheduler
from lora_loom.pipelines.training.settings import LoraTraining, learning_rate_factor

SMOOTHED = 50  # steps over which the reported final loss is averaged


@dataclass(frozen=True)
class StepNumbers:
    """What one step gives to log. `dropped` counts the pictures that were shown without their caption."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    dropped: int


class Trainer:
    """Takes one optimiser step at a time. All chance comes from `TrainingData.draw`, a function of seed and step."""

    def __init__(
        self,
        pipe: Any,
        components: Mapping[str, nn.Module],
        data: TrainingData,
        settings: LoraTraining,
        accelerator: Accelerator,
    ) -> None:
        self.step_count = 0
        self.parameters = lora_parameters(components)
        self._pipe = pipe
        self._data = data
        self._settings = settings
        self._accelerator = accelerator
        self._scheduler = training_scheduler(pipe)
        weights = timestep_weights(self._scheduler, settings.min_snr_gamma)
        self._timestep_weights = None if weights is None else weights.to(data.latents.device)
        self._losses: deque[float] = deque(maxlen=SMOOTHED)
        self._adamw = _adamw(self.parameters, settings)
        self._optimiser = cast("torch.optim.Optimizer", accelerator.prepare(self._adamw))  # pyright: ignore[reportUnknownMemberType]
        for module in components.values():
            module.train()

    @property
    def smoothed_loss(self) -> float:
        """Mean loss of the last steps."""
        return sum(self._losses) / len(self._losses) if self._losses else float("nan")

    def step(self) -> StepNumbers:
        """One update from batch_size x accumulation pictures per process; TrainingError when the loss is not finite."""
        settings, accelerator = self._settings, self._accelerator
        factor = learning_rate_factor(settings, self.step_count)
        for group in self._adamw.param_groups:
            group["lr"] = group["initial_lr"] * factor
        passes = settings.accumulation * accelerator.num_processes
        own, prior = self._data.draw(
            settings, self.step_count, settings.batch_size * passes, int(self._scheduler.config["num_train_timesteps"])
        )
        total = torch.zeros((), device=self._data.latents.device)
        for index in range(accelerator.process_index, passes, accelerator.num_processes):
            part = slice(index * settings.batch_size, (index + 1) * settings.batch_size)
            draws = own.rows(part) if prior is None else Draws.join(own.rows(part), prior.rows(part))
            loss = self._loss(draws) / (settings.batch_size * settings.accumulation)
            accelerator.backward(loss)  # pyright: ignore[reportUnknownMemberType]
            total += loss.detach()
        parameters = list(self.parameters.values())
        average_gradients(accelerator, parameters)
        grad_norm = accelerator.clip_grad_norm_(parameters, settings.max_grad_norm or float("inf"))  # pyright: ignore
        loss_value = mean_over_processes(accelerator, total)
        if not math.isfinite(loss_value):
            raise TrainingError(
                f"the loss is not finite in step {self.step_count + 1}",
                found=str(loss_value),
                remedy="lower the learning rate, or train in bf16 or without mixed precision",
            )
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.step_count += 1
        self._losses.append(loss_value)
        return StepNumbers(
            step=self.step_count,
            loss=loss_value,
            learning_rate=settings.learning_rate * factor,
            grad_norm=float(cast("Tensor", grad_norm)),
            dropped=int((own.captions == 0).sum()),
        )

    def checkpoint(self) -> Checkpoint:
        """Everything the next step depends on."""
        generators = {"cpu": torch.get_rng_state()}
        if self._data.latents.is_cuda:
            generators["cuda"] = torch.cuda.get_rng_state(self._data.latents.device)
        scaler = self._scaler
        return Checkpoint(
            step=self.step_count,
            weights=self.parameters,
            moments=optimiser_moments(self._adamw, self.parameters),
            generators=generators,
            prior={"latents": self._data.prior},
            losses=tuple(self._losses),
            scaler=None if scaler is None else scaler.state_dict(),
            settings=self._settings.to_dict(),
            fingerprint=self._data.fingerprint,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where the checkpoint was made."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(checkpoint.weights[name])
        restore_moments(self._adamw, self.parameters, checkpoint.moments)
        torch.set_rng_state(checkpoint.generators["cpu"])
        if self._data.latents.is_cuda and "cuda" in checkpoint.generators:
            torch.cuda.set_rng_state(checkpoint.generators["cuda"], self._data.latents.device)
        if self._scaler is not None and checkpoint.scaler is not None:
            self._scaler.load_state_dict(dict(checkpoint.scaler))
        self.step_count = checkpoint.step
        self._losses.extend(checkpoint.losses)

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """Keeps half-precision gradients from vanishing; None in the other number formats."""
        return cast("torch.amp.GradScaler | None", self._accelerator.scaler)  # pyright: ignore[reportUnknownMemberType]

    def _loss(self, draws: Draws) -> Tensor:
        """Sum over the rows of the weighted mean squared error, a scalar in float32."""
        unet = self._pipe.unet
        device: torch.device = self._data.latents.device
        latents = self._data.latents[draws.items.to(device)]  # [b c h w]
        noise = draws.noise.to(device)
        timesteps = draws.timesteps.to(device)
        noisy = self._scheduler.add_noise(latents, noise, cast("torch.IntTensor", timesteps))
        with self._accelerator.autocast():
            text = self._text(draws.captions)
            prediction = cast(
                "Tensor",
                unet(
                    noisy.to(unet.dtype),
                    timesteps,
                    encoder_hidden_states=text.tokens.to(unet.dtype),
                    added_cond_kwargs=added_conditions(self._pipe, text, self._data.size),
                    return_dict=False,
                )[0],
            )
        target = prediction_target(self._scheduler, latents, noise, timesteps)
        losses = (prediction.float() - target).square().mean(dim=(1, 2, 3)) * draws.weights.to(device)  # [b]
        if self._timestep_weights is not None:
            losses = losses * self._timestep_weights[timesteps]
        return losses.sum()

    def _text(self, captions: Tensor) -> TextStates:
        """Text states of the rows: looked up, or computed anew where the text encoders are trained."""
        states = self._data.states
        if states is not None:
            return states.rows(captions.to(states.tokens.device))
        return encode_captions(self._pipe, [self._data.book.texts[int(row)] for row in captions])


def _adamw(parameters: Mapping[str, nn.Parameter], settings: LoraTraining) -> torch.optim.AdamW:
    """AdamW with one group for the denoiser and one for the text encoders; fused, which also pays on a CPU."""
    groups = [
        {
            "params": [value for name, value in parameters.items() if name.startswith("unet.") is denoiser],
            "lr": rate,
            "initial_lr": rate,
        }
        for denoiser, rate in ((True, settings.learning_rate), (False, settings.text_encoder_learning_rate))
    ]
    kinds = {value.device.type for value in parameters.values()}
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=kinds <= {"cpu", "cuda"},
    )
