"""train_gate: pictures of several concepts, the adapters that draw them and a base in, a gate file out."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import CancelledError, TrainingError
from lora_loom.pipelines.gating.gate_file import new_gate, save_gate
from lora_loom.pipelines.gating.layer_map import LayerMap
from lora_loom.pipelines.gating.rule import GateRule
from lora_loom.pipelines.runtime.bank import AdapterBank
from lora_loom.pipelines.training.base_model import base_name, opened_base
from lora_loom.pipelines.training.checkpoint import Checkpoint, check_pictures, load_checkpoint
from lora_loom.pipelines.training.gate_data import GateItem, Set, by_set, prepare_gate_data
from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.pipelines.training.gate_trainer import GateTrainer
from lora_loom.pipelines.training.lora import TrainingStep, progress_of
from lora_loom.pipelines.training.machine import accelerator_for, agreed, interrupt_noted, seeded
from lora_loom.pipelines.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainedGate:
    """A finished training. `first_loss` is that of the untrained gate's first steps, `final_loss` of the last 50."""

    path: Path
    run_folder: Path
    steps: int
    resumed_at: int
    seconds: float
    final_loss: float
    num_pictures: int
    num_sets: int
    num_parameters: int

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def train_gate(
    settings: GateTraining,
    adapters: Mapping[str, Path],
    items: Iterable[GateItem],
    base: str | Path | Any,
    out: Path,
    *,
    on_step: Callable[[TrainingStep], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    resume: bool = False,
    run_folder: Path | None = None,
) -> TrainedGate:
    """Train a gate on pictures that each show two of the `adapters` (files by name) or more, and write it to `out`.

    Base and adapters are frozen; a pipeline that is passed as `base` is given back unchanged. Numbers and the
    checkpoint go to `run_folder`, by default NAME.training; stopping and resuming are as in `train_lora`. Raises
    TrainingError, SettingError, BaseModelError, AdapterFileError, AdapterMatchError or OutputError.
    """
    if out.suffix != ".safetensors":
        raise TrainingError("the gate needs a file name", expected="one that ends in .safetensors", found=str(out))
    sets = by_set(items, list(adapters))
    with (
        accelerator_for(settings.machine) as accelerator,
        opened_base(base, settings.machine, accelerator.device) as pipe,
    ):
        folder = RunFolder(run_folder or out.with_suffix(".training"), writes=accelerator.is_main_process)
        checkpoint = _checkpoint_for(settings, folder) if resume else None
        target = BaseTarget.from_pipeline(pipe)
        loaded = {name: load_adapter(path, name=name, target=target) for name, path in adapters.items()}
        bank = AdapterBank(pipe)
        with seeded(settings.seed, accelerator.device):
            width = int(pipe.unet.config["cross_attention_dim"])
            layers = LayerMap.of(pipe.unet)
            gate = new_gate(settings.kind, layers, width, settings.hidden, conserves=settings.conserve)
            gate.to(accelerator.device)
        rule = GateRule(lambda site: gate)
        with bank.open(pipe, loaded, rule=rule):
            data = prepare_gate_data(pipe, settings, sets, partial(_encoding, bank))
            if checkpoint is not None:
                check_pictures(checkpoint, data.fingerprint, folder.checkpoint)
            trainer = GateTrainer(pipe, bank.denoiser, rule, gate, data, settings, accelerator)
            if checkpoint is not None:
                trainer.restore(checkpoint)
            resumed_at, begin = trainer.step_count, time.perf_counter()
            folder.begin(settings.to_dict(), step=resumed_at)
            with interrupt_noted() as interrupted:
                while trainer.step_count < settings.steps:
                    numbers = trainer.step()
                    seconds = time.perf_counter() - begin
                    folder.log({**asdict(numbers), "seconds": round(seconds, 3)})
                    if on_step is not None and accelerator.is_main_process:
                        on_step(progress_of(numbers, settings.steps, seconds, steps_done=numbers.step - resumed_at))
                    if settings.save_every and numbers.step % settings.save_every == 0:
                        folder.save(trainer.checkpoint())
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
            seconds = time.perf_counter() - begin
        if accelerator.is_main_process:
            about = {
                "objective": settings.objective if settings.objective == "pictures" else f"teacher {settings.teacher}",
                "adapters": ", ".join(adapters),
                "sets": "; ".join(" + ".join(names) for names in sets),
                "steps": str(trainer.step_count),
                "final_loss": f"{trainer.smoothed_loss:.6g}",
            }
            save_gate(out, gate, base=base_name(base), family=target.family, metadata=about)
    return TrainedGate(
        path=out,
        run_folder=folder.path,
        steps=trainer.step_count,
        resumed_at=resumed_at,
        seconds=seconds,
        final_loss=trainer.smoothed_loss,
        num_pictures=sum(len(rows) for rows in data.rows.values()),
        num_sets=len(data.rows),
        num_parameters=sum(value.numel() for value in cast("nn.Module", gate).parameters()),
    )


@contextmanager
def _encoding(bank: AdapterBank, names: Set) -> Generator[None]:
    """The text encoders with the parts of these adapters."""
    for encoder in bank.text_encoders.values():
        encoder.activate([dict.fromkeys(names, 1.0)])
    yield


def _checkpoint_for(settings: GateTraining, folder: RunFolder) -> Checkpoint:
    """The saved run; TrainingError unless it was made with these settings, saving apart."""
    checkpoint = load_checkpoint(folder.checkpoint)
    changed = [
        f"{name}: {checkpoint.settings.get(name)} then, {value} now"
        for name, value in settings.to_dict().items()
        if name != "save_every" and checkpoint.settings.get(name) != value
    ]
    if changed:
        raise TrainingError(
            f"{folder.checkpoint} was made with other settings",
            found="; ".join(changed),
            remedy="use the same settings or start anew",
        )
    return checkpoint
