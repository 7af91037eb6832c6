"""LoraObjective: a LoRA learns to predict the noise, or the velocity, of pictures with their captions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from PIL import Image
from torch import Tensor, nn

from lora_loom.pipelines.training.attach import lora_parameters
from lora_loom.pipelines.training.captions import TextStates, encode_captions
from lora_loom.pipelines.training.draws import Draws
from lora_loom.pipelines.training.load_check import added_conditions
from lora_loom.pipelines.training.loop_settings import LoopSettings
from lora_loom.pipelines.training.objective import Objective, ParameterGroup, Passes, Reached
from lora_loom.pipelines.training.prediction import prediction_target, timestep_weights, training_scheduler
from lora_loom.pipelines.training.product import LoraProduct, LoraWriter
from lora_loom.pipelines.training.samples import sample_grid, sample_prompts
from lora_loom.pipelines.training.settings import LoraTraining, learning_rate_factor


class LoraObjective(Objective[Draws]):
    """The LoRA that is attached to the `components` of the writer's base; its file is the writer's."""

    def __init__(self, writer: LoraWriter, components: Mapping[str, nn.Module], accelerator: Accelerator) -> None:
        self.fingerprint = writer.data.fingerprint
        self._pipe = writer.pipe
        self._writer = writer
        self._components = components
        self._data = writer.data
        self._settings = writer.settings
        self._accelerator = accelerator
        self._scheduler = training_scheduler(self._pipe)
        weights = timestep_weights(self._scheduler, self._settings.min_snr_gamma)
        self._timestep_weights = None if weights is None else weights.to(self._data.latents.device)
        self._dropped = 0
        for module in components.values():
            module.train()

    def groups(self) -> Sequence[ParameterGroup]:
        """One group for the denoiser and one for the text encoders."""
        parameters, settings = lora_parameters(self._components), self._settings
        return [
            ParameterGroup({name: it for name, it in parameters.items() if name.startswith("unet.") is denoiser}, rate)
            for denoiser, rate in ((True, settings.learning_rate), (False, settings.text_encoder_learning_rate))
        ]

    def batches(self, passes: Passes) -> Iterator[Draws]:
        """The whole step is drawn at once and cut, so that neither accumulation nor processes change what is drawn."""
        size = self._settings.batch_size
        num_timesteps = int(self._scheduler.config["num_train_timesteps"])
        own, prior = self._data.draw(self._settings, passes.step, size * passes.of, num_timesteps)
        self._dropped = int((own.captions == 0).sum())
        for index in passes.own:
            part = slice(index * size, (index + 1) * size)
            yield own.rows(part) if prior is None else Draws.join(own.rows(part), prior.rows(part))

    def loss(self, batch: Draws) -> Tensor:
        """Weighted mean squared error, the prior pictures' beside the own ones'; a scalar in float32."""
        unet = self._pipe.unet
        device = self._data.latents.device
        latents = self._data.latents[batch.items.to(device)]  # [b c h w]
        noise = batch.noise.to(device)
        timesteps = batch.timesteps.to(device)
        noisy = self._scheduler.add_noise(latents, noise, cast("Any", timesteps))
        with self._accelerator.autocast():
            text = self._text(batch.captions)
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
        losses = (prediction.float() - target).square().mean(dim=(1, 2, 3)) * batch.weights.to(device)  # [b]
        if self._timestep_weights is not None:
            losses = losses * self._timestep_weights[timesteps]
        return losses.sum() / self._settings.batch_size

    def numbers(self, step: int) -> Mapping[str, float | str]:
        """How many pictures of the step were shown without their caption."""
        return {"dropped": self._dropped}

    def sample(self) -> Image.Image:
        """A grid of all prompts, the same noise every time."""
        prompts = sample_prompts(self._settings, self._data.book)
        return self._drawn(prompts, self._settings.sample_columns)

    def preview(self) -> Image.Image:
        """One picture, to lie beside the finished LoRA."""
        return self._drawn(sample_prompts(self._settings, self._data.book)[:1], 1)

    def snapshot_name(self, step: int) -> str:
        return f"{self._writer.name}-{step:06d}.safetensors"

    def export(self, path: Path, at: Reached) -> None:
        self._writer.write(self.product(at), path)

    def product(self, at: Reached) -> LoraProduct:
        """The LoRA as it stands, to be checked in the bare base before it is written."""
        return self._writer.take(self._components, at.step, at.loss)

    def state(self) -> Mapping[str, Tensor]:
        """Latents of the prior pictures: the base could only draw them again at the same cost."""
        return {"latents": self._data.prior}

    def _drawn(self, prompts: Sequence[str], columns: int) -> Image.Image:
        return sample_grid(self._pipe, self._components, self._settings, prompts, columns, self._data.size)

    def _text(self, captions: Tensor) -> TextStates:
        """Text states of the rows: looked up, or computed anew where the text encoders are trained."""
        states = self._data.states
        if states is not None:
            return states.rows(captions.to(states.tokens.device))
        return encode_captions(self._pipe, [self._data.book.texts[int(row)] for row in captions])


def lora_loop(settings: LoraTraining) -> LoopSettings:
    """The loop that these settings ask for."""
    return LoopSettings(
        steps=settings.steps,
        schedule=lambda step, done: learning_rate_factor(settings, step),
        accumulation=settings.accumulation,
        weight_decay=settings.weight_decay,
        fused=True,
        max_grad_norm=settings.max_grad_norm,
        save_every=settings.save_every,
        sample_every=settings.sample_every,
        recorded=settings.to_dict(),
        free=settings.free,
    )
