"""train_lora: pictures and a base in, a LoRA file out; one plain loop that can stop after any step and go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator  # pyright: ignore[reportMissingTypeStubs]
from PIL import Image
from torch import nn

from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import CancelledError, TrainingError
from lora_loom.pipelines.training.attach import attached_lora
from lora_loom.pipelines.training.base_model import base_name, opened_base
from lora_loom.pipelines.training.checkpoint import (
    Checkpoint,
    check_pictures,
    check_settings,
    load_checkpoint,
)
from lora_loom.pipelines.training.data import prepare_data
from lora_loom.pipelines.training.items import TrainingItem, as_items
from lora_loom.pipelines.training.machine import accelerator_for, agreed, interrupt_noted, seeded
from lora_loom.pipelines.training.objective import timestep_weights, training_scheduler
from lora_loom.pipelines.training.product import LoraWriter
from lora_loom.pipelines.training.run_folder import RunFolder
from lora_loom.pipelines.training.samples import sample_grid, sample_prompts
from lora_loom.pipelines.training.settings import LoraDescription, LoraTraining
from lora_loom.pipelines.training.start import start_from
from lora_loom.pipelines.training.trainer import StepNumbers, Trainer


@dataclass(frozen=True)
class TrainingStep:
    """Progress after one step; `seconds` count from the first step of this call, `eta_seconds` from now to the last."""

    step: int
    steps: int
    loss: float
    learning_rate: float
    grad_norm: float
    seconds: float
    eta_seconds: float


@dataclass(frozen=True)
class TrainedLora:
    """A finished training. `final_loss` is the mean of the last 50 steps, `seconds` the time of this call's steps."""

    path: Path
    sha256: str
    run_folder: Path
    steps: int
    resumed_at: int
    seconds: float
    final_loss: float
    num_pictures: int
    num_parameters: int
    overlong_captions: int  # captions that the base reads only in part

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def train_lora(
    settings: LoraTraining,
    items: Iterable[TrainingItem | tuple[Any, Any]],
    base: str | Path | Any,
    out: Path,
    *,
    about: LoraDescription | None = None,
    on_step: Callable[[TrainingStep], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    resume: bool = False,
    run_folder: Path | None = None,
    start: Path | None = None,
) -> TrainedLora:
    """Train a LoRA on `items` (TrainingItem, or pairs of a picture and its caption or captions) and write it to `out`.

    `base` is a name, hub id, folder or pipeline; a pipeline is given back unchanged. Beside `out` come NAME.json and
    NAME.preview.png; numbers, samples, snapshots and the checkpoint go to `run_folder`, by default NAME.training.
    `cancelled` is asked after every step; when it says so, the run is saved and CancelledError raised. Ctrl-C in the
    main thread saves and raises KeyboardInterrupt. With `resume` a saved run goes on to the very bits that it would
    have reached without the stop (on a CPU). `start` is a LoRA of the same rank to begin with instead of with nothing;
    a run that is resumed has begun already. Raises TrainingError, SettingError, BaseModelError or OutputError.
    """
    if out.suffix != ".safetensors":
        raise TrainingError("the LoRA needs a file name", expected="one that ends in .safetensors", found=str(out))
    pictures = as_items(items)
    with accelerator_for(settings) as accelerator, opened_base(base, settings, accelerator.device) as pipe:
        timestep_weights(training_scheduler(pipe), settings.min_snr_gamma)  # refused now, not after the encoding
        folder = RunFolder(run_folder or out.with_suffix(".training"), writes=accelerator.is_main_process)
        checkpoint = _checkpoint_for(settings, folder) if resume else None
        data = prepare_data(pipe, settings, pictures, checkpoint.prior["latents"] if checkpoint else None)
        if checkpoint is not None:
            check_pictures(checkpoint, data.fingerprint, folder.checkpoint)
        writer = LoraWriter(
            pipe,
            settings,
            about or LoraDescription(),
            data,
            target=BaseTarget.from_pipeline(pipe),
            name=out.stem,
            base_name=base_name(base),
        )
        writer.rehearse(accelerator.device)
        with seeded(settings.seed, accelerator.device), attached_lora(pipe, settings) as components:
            if start is not None and checkpoint is None:
                start_from(start, writer.target, components, settings)
            trainer = Trainer(pipe, components, data, settings, accelerator)
            if checkpoint is not None:
                trainer.restore(checkpoint)
            resumed_at = trainer.step_count
            folder.begin(settings.to_dict(), step=resumed_at)
            begin = time.perf_counter()
            _loop(trainer, writer, components, folder, accelerator, on_step, cancelled)
            seconds = time.perf_counter() - begin
            product = writer.take(components, trainer.step_count, trainer.smoothed_loss)
            prompt = sample_prompts(settings, data.book)[:1]
            preview = sample_grid(pipe, components, settings, prompt, 1, data.size)
        sha256 = writer.finish(product, preview, out) if accelerator.is_main_process else ""
    return TrainedLora(
        path=out,
        sha256=sha256,
        run_folder=folder.path,
        steps=trainer.step_count,
        resumed_at=resumed_at,
        seconds=seconds,
        final_loss=trainer.smoothed_loss,
        num_pictures=data.num_items,
        num_parameters=sum(value.numel() for value in trainer.parameters.values()),
        overlong_captions=data.overlong_captions,
    )


def _loop(
    trainer: Trainer,
    writer: LoraWriter,
    components: Mapping[str, nn.Module],
    folder: RunFolder,
    accelerator: Accelerator,
    on_step: Callable[[TrainingStep], None] | None,
    cancelled: Callable[[], bool] | None,
) -> None:
    """Steps until the last one, with what is due between them; saves at the end and where a person stops it."""
    settings = writer.settings
    first, begin = trainer.step_count, time.perf_counter()
    if settings.sample_every and first == 0:
        folder.sample(0, _grid(writer, components))
    with interrupt_noted() as interrupted:
        while trainer.step_count < settings.steps:
            numbers = trainer.step()
            seconds = time.perf_counter() - begin
            folder.log({**asdict(numbers), "seconds": round(seconds, 3)})
            if on_step is not None and accelerator.is_main_process:
                on_step(progress_of(numbers, settings.steps, seconds, steps_done=numbers.step - first))
            if settings.sample_every and numbers.step % settings.sample_every == 0:
                folder.sample(numbers.step, _grid(writer, components))
            if settings.save_every and numbers.step % settings.save_every == 0:
                folder.save(trainer.checkpoint())
                product = writer.take(components, numbers.step, trainer.smoothed_loss)
                folder.snapshot(numbers.step, writer, product)
            if agreed(accelerator, interrupted()):
                folder.save(trainer.checkpoint())
                raise KeyboardInterrupt
            if numbers.step < settings.steps and agreed(accelerator, cancelled is not None and cancelled()):
                folder.save(trainer.checkpoint())
                raise CancelledError(
                    f"the training was stopped after step {numbers.step} of {settings.steps}",
                    remedy="It is saved; resume it to go on",
                )
    folder.save(trainer.checkpoint())


def progress_of(numbers: StepNumbers, steps: int, seconds: float, *, steps_done: int) -> TrainingStep:
    return TrainingStep(
        step=numbers.step,
        steps=steps,
        loss=numbers.loss,
        learning_rate=numbers.learning_rate,
        grad_norm=numbers.grad_norm,
        seconds=seconds,
        eta_seconds=seconds / steps_done * (steps - numbers.step),
    )


def _grid(writer: LoraWriter, components: Mapping[str, nn.Module]) -> Image.Image:
    settings, data = writer.settings, writer.data
    return sample_grid(
        writer.pipe, components, settings, sample_prompts(settings, data.book), settings.sample_columns, data.size
    )


def _checkpoint_for(settings: LoraTraining, folder: RunFolder) -> Checkpoint:
    checkpoint = load_checkpoint(folder.checkpoint)
    check_settings(checkpoint, settings, folder.checkpoint)
    return checkpoint
