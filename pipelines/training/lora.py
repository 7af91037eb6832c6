"""train_lora: pictures and a base in, a LoRA file out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.training.attach import attached_lora
from lora_loom.pipelines.training.base_model import base_name, opened_base
from lora_loom.pipelines.training.data import prepare_data
from lora_loom.pipelines.training.items import TrainingItem, as_items
from lora_loom.pipelines.training.loop import TrainingStep, train
from lora_loom.pipelines.training.lora_objective import LoraObjective, lora_loop
from lora_loom.pipelines.training.machine import accelerator_for, seeded
from lora_loom.pipelines.training.prediction import timestep_weights, training_scheduler
from lora_loom.pipelines.training.product import LoraWriter
from lora_loom.pipelines.training.run_folder import RunFolder
from lora_loom.pipelines.training.settings import LoraDescription, LoraTraining
from lora_loom.pipelines.training.start import start_from


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
    with (
        accelerator_for(settings.mixed_precision, settings.device) as accelerator,
        opened_base(base, settings, accelerator.device) as pipe,
    ):
        timestep_weights(training_scheduler(pipe), settings.min_snr_gamma)  # refused now, not after the encoding
        folder = RunFolder(run_folder or out.with_suffix(".training"), writes=accelerator.is_main_process)
        checkpoint = folder.saved(settings) if resume else None
        data = prepare_data(pipe, settings, pictures, checkpoint.state["latents"] if checkpoint else None)
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
            objective = LoraObjective(writer, components, accelerator)
            parameters = [value for group in objective.groups() for value in group.parameters.values()]
            done = train(
                objective,
                lora_loop(settings),
                accelerator,
                folder,
                checkpoint=checkpoint,
                on_step=on_step,
                cancelled=cancelled,
            )
            product, preview = objective.product(done.reached), objective.preview()
        sha256 = writer.finish(product, preview, out) if accelerator.is_main_process else ""
    return TrainedLora(
        path=out,
        sha256=sha256,
        run_folder=folder.path,
        steps=done.reached.step,
        resumed_at=done.resumed_at,
        seconds=done.seconds,
        final_loss=done.reached.loss,
        num_pictures=data.num_items,
        num_parameters=sum(value.numel() for value in parameters),
        overlong_captions=data.overlong_captions,
    )
