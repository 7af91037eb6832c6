"""train_gate: pictures of several concepts, the adapters that draw them and a base in, a gate file out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import nn

from lora_loom.pipelines.adapters.load import load_adapter
from lora_loom.pipelines.adapters.target import BaseTarget
from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.gating.gate_file import new_gate
from lora_loom.pipelines.gating.layer_map import LayerMap
from lora_loom.pipelines.gating.rule import GateRule
from lora_loom.pipelines.runtime.bank import AdapterBank
from lora_loom.pipelines.training.base_model import base_name, opened_base
from lora_loom.pipelines.training.gate_data import GateItem, Set, by_set, prepare_gate_data
from lora_loom.pipelines.training.gate_objective import GateObjective, gate_loop
from lora_loom.pipelines.training.gate_settings import GateTraining
from lora_loom.pipelines.training.loop import TrainingStep, train
from lora_loom.pipelines.training.machine import accelerator_for, seeded
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
        accelerator_for(settings.mixed_precision, settings.device) as accelerator,
        opened_base(base, settings.machine, accelerator.device) as pipe,
    ):
        folder = RunFolder(run_folder or out.with_suffix(".training"), writes=accelerator.is_main_process)
        checkpoint = folder.saved(settings) if resume else None
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
            objective = GateObjective(
                pipe,
                bank.denoiser,
                rule,
                gate,
                data,
                settings,
                accelerator,
                base=base_name(base),
                family=target.family,
                adapters=list(adapters),
            )
            with seeded(settings.seed, accelerator.device):
                done = train(
                    objective,
                    gate_loop(settings),
                    accelerator,
                    folder,
                    checkpoint=checkpoint,
                    on_step=on_step,
                    cancelled=cancelled,
                )
        if accelerator.is_main_process:
            objective.export(out, done.reached)
    return TrainedGate(
        path=out,
        run_folder=folder.path,
        steps=done.reached.step,
        resumed_at=done.resumed_at,
        seconds=done.seconds,
        final_loss=done.reached.loss,
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
