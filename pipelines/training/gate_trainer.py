"""GateTrainer: the state of a gate's training between two steps, and the step itself."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import torch
from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor, nn

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.gating.rule import Gate, GateRule
from lora_loom.pipelines.plan import Predictions, StepState
from lora_loom.pipelines.registry import create, parsed
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.bank import ModelBank
from lora_loom.pipelines.runtime.steps import noise_share
from lora_loom.pipelines.training.captions import TextStates
from lora_loom.pipelines.training.checkpoint import Checkpoint, optimiser_moments, restore_moments
from lora_loom.pipelines.training.gate_data import GateData, SetBatch
from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.pipelines.training.load_check import added_conditions
from lora_loom.pipelines.training.machine import average_gradients, mean_over_processes
from lora_loom.pipelines.training.objective import prediction_target, training_scheduler
from lora_loom.pipelines.training.trainer import SMOOTHED, StepNumbers


class GateTrainer:
    """Takes one optimiser step at a time, through the runtime's own layers: what is trained is what runs.

    The sets of a step are the passes of one batch, so their number costs no further launches. The bank must be open,
    with `rule` in force.
    """

    def __init__(
        self,
        pipe: Any,
        bank: ModelBank,
        rule: GateRule,
        gate: Gate,
        data: GateData,
        settings: GateTraining,
        accelerator: Accelerator,
    ) -> None:
        self.step_count = 0
        self.parameters = dict(cast("nn.Module", gate).named_parameters())
        self._pipe = pipe
        self._bank = bank
        self._rule = rule
        self._data = data
        self._settings = settings
        self._accelerator = accelerator
        self._scheduler = training_scheduler(pipe)
        self._num_timesteps = int(self._scheduler.config["num_train_timesteps"])
        shares = [noise_share(self._scheduler, float(timestep)) for timestep in range(self._num_timesteps)]
        self._progress = 1.0 - torch.tensor(shares, device=data.latents.device)
        self._losses: deque[float] = deque(maxlen=SMOOTHED)
        self._adamw = torch.optim.AdamW(
            self.parameters.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    @property
    def smoothed_loss(self) -> float:
        """Mean loss of the last steps."""
        return sum(self._losses) / len(self._losses) if self._losses else float("nan")

    def step(self) -> StepNumbers:
        """One update; TrainingError when the loss is not finite."""
        settings, accelerator = self._settings, self._accelerator
        rate = settings.rate_at(self.step_count)
        for group in self._adamw.param_groups:
            group["lr"] = rate
        passes = settings.accumulation * accelerator.num_processes
        total = torch.zeros((), device=self._data.latents.device)
        for index in range(accelerator.process_index, passes, accelerator.num_processes):
            sets = self._data.draw(settings, self.step_count * passes + index, self._num_timesteps)
            loss = self.loss(sets) / settings.accumulation
            accelerator.backward(loss)  # pyright: ignore[reportUnknownMemberType]
            total += loss.detach()
        parameters = list(self.parameters.values())
        average_gradients(accelerator, parameters)
        norm = nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        loss_value = mean_over_processes(accelerator, total)
        if not math.isfinite(loss_value):
            raise TrainingError(
                f"the loss is not finite in step {self.step_count + 1}",
                found=str(loss_value),
                remedy="lower the learning rate, or train without mixed precision",
            )
        self._adamw.step()  # pyright: ignore[reportUnknownMemberType]
        self._adamw.zero_grad()
        self.step_count += 1
        self._losses.append(loss_value)
        return StepNumbers(self.step_count, loss_value, rate, float(norm), 0)

    def loss(self, sets: Sequence[SetBatch]) -> Tensor:
        """Mean squared error of the gated prediction over all rows, a scalar in float32."""
        latents, noise = (torch.cat([getattr(each, name) for each in sets]) for name in ("latents", "noise"))
        timesteps = torch.cat([each.timesteps for each in sets])
        noisy = self._scheduler.add_noise(latents, noise, cast("torch.IntTensor", timesteps))
        if self._settings.objective == "pictures":
            target = prediction_target(self._scheduler, latents, noise, timesteps)
        else:
            parts = torch.split(noisy, [len(each.latents) for each in sets])
            target = torch.cat([self._taught(each, part) for each, part in zip(sets, parts, strict=True)])
        return (self._gated(sets, noisy, timesteps).float() - target.float()).square().mean()

    def _gated(self, sets: Sequence[SetBatch], noisy: Tensor, timesteps: Tensor) -> Tensor:
        """The prediction with the gate, all sets as the passes of one batch."""
        self._bank.activate([dict.fromkeys(each.adapters, 1.0) for each in sets])
        self._rule.progress = self._progress[timesteps]
        return self._predict(noisy, timesteps, _joined([each.text for each in sets]))

    @torch.no_grad()
    def _taught(self, batch: SetBatch, noisy: Tensor) -> Tensor:
        """What the teacher predicts for one set, whose rows are all at one timestep."""
        method = create(*parsed(self._settings.teacher))
        plan = method.plan([AdapterChoice(name) for name in batch.adapters], self._num_timesteps)
        if plan.layer_rule is not None or plan.derive is not None:
            raise TrainingError(
                f"{method.name} cannot teach a gate",
                expected="a method that works on the predictions of the adapters as they are",
                found="one that works inside the layers or on other adapters",
            )
        timestep = batch.timesteps[0]
        state = StepState(0, self._num_timesteps, float(self._progress[timestep]), float(timestep), noisy)
        passes = plan.schedule(state)
        n = len(passes)
        with self._rule.off():
            self._bank.activate([each.gates for each in passes])
            noise_preds = self._predict(noisy.repeat(n, 1, 1, 1), batch.timesteps.repeat(n), _joined([batch.text] * n))
        weights = torch.tensor([each.weight for each in passes], device=noisy.device)
        noise_preds = noise_preds.view(n, len(noisy), *noise_preds.shape[1:])
        return plan.combine(Predictions(noise_preds.float(), weights, passes, state))

    def _predict(self, noisy: Tensor, timesteps: Tensor, text: TextStates) -> Tensor:
        unet = self._pipe.unet
        tokens = text.tokens.to(unet.dtype)
        self._bank.told(tokens)
        with self._accelerator.autocast():
            return unet(
                noisy.to(unet.dtype),
                timesteps,
                encoder_hidden_states=tokens,
                added_cond_kwargs=added_conditions(self._pipe, text, self._data.size),
                return_dict=False,
            )[0]

    def checkpoint(self) -> Checkpoint:
        """Everything the next step depends on."""
        return Checkpoint(
            step=self.step_count,
            weights=self.parameters,
            moments=optimiser_moments(self._adamw, self.parameters),
            generators={},
            prior={},
            losses=tuple(self._losses),
            scaler=None,
            settings=self._settings.to_dict(),
            fingerprint=self._data.fingerprint,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go back to where the checkpoint was made."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(checkpoint.weights[name])
        restore_moments(self._adamw, self.parameters, checkpoint.moments)
        self.step_count = checkpoint.step
        self._losses.extend(checkpoint.losses)


def _joined(texts: Sequence[TextStates]) -> TextStates:
    pooled = [each.pooled for each in texts if each.pooled is not None]
    return TextStates(torch.cat([each.tokens for each in texts]), torch.cat(pooled) if pooled else None)
