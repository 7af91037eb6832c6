"""GateObjective: a gate learns to let several adapters speak where each matters, from pictures or from a teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor, nn

from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.gating.gate_file import save_gate
from lora_loom.pipelines.gating.rule import Gate, GateRule
from lora_loom.pipelines.plan import Predictions, StepState
from lora_loom.pipelines.registry import create, parsed
from lora_loom.pipelines.request import AdapterChoice
from lora_loom.pipelines.runtime.bank import ModelBank
from lora_loom.pipelines.runtime.steps import noise_share
from lora_loom.pipelines.training.captions import TextStates
from lora_loom.pipelines.training.gate_data import GateData, SetBatch
from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.pipelines.training.load_check import added_conditions
from lora_loom.pipelines.training.loop_settings import LoopSettings
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached
from lora_loom.pipelines.training.prediction import prediction_target, training_scheduler


class GateObjective(Objective[list[SetBatch]]):
    """A gate, through the runtime's own layers: what is trained is what runs.

    The sets of a pass are the passes of one batch, so their number costs no further launches. The bank must be open,
    with `rule` in force. `base` and `family` are what the file says it is for.
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
        base: str,
        family: str,
        adapters: Sequence[str],
    ) -> None:
        self.fingerprint = data.fingerprint
        self._pipe = pipe
        self._bank = bank
        self._rule = rule
        self._gate = gate
        self._data = data
        self._settings = settings
        self._accelerator = accelerator
        self._base, self._family = base, family
        self._adapters = adapters
        self._scheduler = training_scheduler(pipe)
        self._num_timesteps = int(self._scheduler.config["num_train_timesteps"])
        shares = [noise_share(self._scheduler, float(timestep)) for timestep in range(self._num_timesteps)]
        self._progress = 1.0 - torch.tensor(shares, device=data.latents.device)

    def groups(self) -> Sequence[ParameterGroup]:
        parameters = dict(cast("nn.Module", self._gate).named_parameters())
        return [ParameterGroup(parameters, self._settings.learning_rate)]

    def batches(self, passes: Passes) -> Iterator[list[SetBatch]]:
        for number in passes.numbered:
            yield self._data.draw(self._settings, number, self._num_timesteps)

    def loss(self, batch: list[SetBatch]) -> Tensor:
        """Mean squared error of the gated prediction over all rows of the sets, a scalar in float32."""
        latents, noise = (torch.cat([getattr(each, name) for each in batch]) for name in ("latents", "noise"))
        timesteps = torch.cat([each.timesteps for each in batch])
        noisy = self._scheduler.add_noise(latents, noise, cast("torch.IntTensor", timesteps))
        if self._settings.objective == "pictures":
            target = prediction_target(self._scheduler, latents, noise, timesteps)
        else:
            parts = torch.split(noisy, [len(each.latents) for each in batch])
            target = torch.cat([self._taught(each, part) for each, part in zip(batch, parts, strict=True)])
        return (self._gated(batch, noisy, timesteps).float() - target.float()).square().mean()

    def export(self, path: Path, at: Reached) -> None:
        settings = self._settings
        metadata = {
            "objective": settings.objective if settings.objective == "pictures" else f"teacher {settings.teacher}",
            "adapters": ", ".join(self._adapters),
            "sets": "; ".join(" + ".join(names) for names in self._data.rows),
            "steps": str(at.step),
            "final_loss": f"{at.loss:.6g}",
        }
        save_gate(path, self._gate, base=self._base, family=self._family, metadata=metadata)

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


def _joined(texts: Sequence[TextStates]) -> TextStates:
    pooled = [each.pooled for each in texts if each.pooled is not None]
    return TextStates(torch.cat([each.tokens for each in texts]), torch.cat(pooled) if pooled else None)


def gate_loop(settings: GateTraining) -> LoopSettings:
    """The loop that these settings ask for."""
    return LoopSettings(
        steps=settings.steps,
        schedule=lambda step, done: settings.rate_factor(step),
        accumulation=settings.accumulation,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        save_every=settings.save_every,
        recorded=settings.to_dict(),
        free=settings.free,
    )
