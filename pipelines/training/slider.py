"""train_slider: an adapter and some prompts in, the same adapter out with a slider that is linear in what it changes.

What is learned is in slider_objective.py; here are the drawings it learns from and the others that measure it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lora_loom.pipelines.adapters.factors import Adapter
from lora_loom.pipelines.errors import TrainingError
from lora_loom.pipelines.plan import base_plan
from lora_loom.pipelines.runtime.fused import fused
from lora_loom.pipelines.runtime.targets import denoiser_of
from lora_loom.pipelines.training.loop import TrainingStep, train
from lora_loom.pipelines.training.loop_settings import LoopSettings, cosine
from lora_loom.pipelines.training.machine import accelerator_for, seeded
from lora_loom.pipelines.training.run_folder import RunFolder
from lora_loom.pipelines.training.slider_objective import Call, GatedUpdates, SliderObjective, answer
from lora_loom.pipelines.weight_space.canonical import balanced, canonical
from lora_loom.pipelines.weight_space.rank_slider import RankSlider

DRAWN_AT = (0.0, 0.5, 1.0)  # strengths of the drawings that give x_t
PROBED_AT = (0.25, 0.5, 0.75, 1.25)
LEAST_EFFECT = 1e-12  # of the prediction's energy


@dataclass(frozen=True)
class TrainedSlider:
    """The adapter in the gauge that the curves belong to, its slider, and the error of both kinds of strength.

    Errors are |student - teacher| / |teacher - base| over settings and drawings that were not trained on: `plain` of
    the strength itself, `error` of the slider.
    """

    adapter: Adapter
    slider: RankSlider
    plain: float
    error: float


def train_slider(
    pipe: Any,
    adapter: Adapter,
    prompts: Sequence[str],
    *,
    steps: int = 200,
    learning_rate: float = 0.02,
    num_inference_steps: int = 12,
    guidance_scale: float = 3.0,
    batch_size: int = 4,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    resume: bool = False,
    run_folder: Path | None = None,
    save_every: int = 0,
) -> TrainedSlider:
    """Train the slider of an adapter on drawings of `prompts`; the pipeline is left as it was.

    `on_step` hears the step and its loss, the squared relative error. With a `run_folder`, the losses and a checkpoint
    are kept there; stopping and resuming are then as in `train_lora`. Raises TrainingError for an adapter without a
    part on the denoiser or without any effect on these prompts.
    """
    if not adapter.denoiser:
        raise TrainingError(f"{adapter.name} has no part on the denoiser", found="text encoders only")
    if resume and run_folder is None:
        raise TrainingError("there is nothing to resume", expected="the run_folder of the stopped run", found="none")
    adapter = _canonical(adapter)
    model = denoiser_of(pipe).model
    draw = {"num_inference_steps": num_inference_steps, "guidance_scale": guidance_scale}
    recorded = {
        "adapter": adapter.name,
        "prompts": list(prompts),
        "steps": steps,
        "learning_rate": learning_rate,
        **draw,
        "batch_size": batch_size,
        "seed": seed,
        "save_every": save_every,
    }
    loop = LoopSettings(
        steps=steps, schedule=cosine(), save_every=save_every, recorded=recorded, free=frozenset({"save_every"})
    )
    device: torch.device = next(model.parameters()).device
    with (
        accelerator_for("no", "cpu" if device.type == "cpu" else "auto") as accelerator,
        seeded(seed, device),
        _frozen(model),
        GatedUpdates(model, adapter.denoiser) as updates,
    ):
        folder = None if run_folder is None else RunFolder(run_folder, writes=accelerator.is_main_process)
        checkpoint = folder.saved(loop) if folder is not None and resume else None
        half = max(len(prompts) // 2, 1)
        calls = _calls(pipe, model, updates, prompts[:half], draw, batch_size, seed)
        unseen = _calls(pipe, model, updates, prompts[half:] or prompts, draw, batch_size, seed + 10_000)
        objective = SliderObjective(
            model,
            updates,
            adapter,
            calls,
            learning_rate=learning_rate,
            seed=seed,
            passes=steps * accelerator.num_processes,
        )
        plain = _error(model, updates, objective.slider, unseen)

        def heard(at: TrainingStep) -> None:
            if on_step is not None:
                on_step(at.step, at.loss)

        train(objective, loop, accelerator, folder, checkpoint=checkpoint, on_step=heard, cancelled=cancelled)
        slider = objective.slider
        error = _error(model, updates, slider, unseen)
    return TrainedSlider(adapter, slider, plain, error)


def _calls(
    pipe: Any,
    model: nn.Module,
    updates: GatedUpdates,
    prompts: Sequence[str],
    draw: Mapping[str, Any],
    batch_size: int,
    seed: int,
) -> list[Call]:
    """All calls of the denoiser in drawings of the prompts at a few strengths, with both answers."""
    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    watch = model.register_forward_pre_hook(
        lambda module, args, kwargs: made.append((args, dict(kwargs))), with_kwargs=True
    )
    ones = {path: torch.ones(rank) for path, rank in updates.ranks.items()}
    try:
        with fused(pipe, base_plan(), {}):
            for strength in DRAWN_AT:
                updates.gates = {path: strength * gate for path, gate in ones.items()}
                for start in range(0, len(prompts), batch_size):
                    part = list(prompts[start : start + batch_size])
                    generators = [torch.Generator().manual_seed(seed + start + k) for k in range(len(part))]
                    pipe(prompt=part, generator=generators, output_type="latent", **draw)
    finally:
        watch.remove()
    calls: list[Call] = []
    with torch.no_grad():
        for args, kwargs in made:
            updates.gates = None
            base = model(*args, **kwargs)[0]
            updates.gates = ones
            calls.append(Call(args, kwargs, base, model(*args, **kwargs)[0]))
    whole = sum(float((call.full - call.base).square().sum()) for call in calls)
    if not whole > LEAST_EFFECT * sum(float(call.base.square().sum()) for call in calls):
        raise TrainingError("the LoRA changes nothing on these prompts", remedy="Use prompts that ask for its subject.")
    return calls


@torch.no_grad()
def _error(model: nn.Module, updates: GatedUpdates, slider: RankSlider, calls: Sequence[Call]) -> float:
    lost = whole = 0.0
    for s in PROBED_AT:
        updates.gates = slider.at(s)
        for call in calls:
            change = s * (call.full - call.base)
            lost += float((answer(model, call) - call.base - change).square().sum())
            whole += float(change.square().sum())
    return math.sqrt(lost / whole)


def _canonical(adapter: Adapter) -> Adapter:
    """The adapter by its singular directions, so that a curve belongs to one of them whatever the training did."""
    return replace(adapter, denoiser={path: balanced(canonical(each)) for path, each in adapter.denoiser.items()})


@contextmanager
def _frozen(model: nn.Module) -> Generator[None]:
    learning = [value for value in model.parameters() if value.requires_grad]
    training = model.training
    try:
        model.requires_grad_(False).eval()
        yield
    finally:
        for value in learning:
            value.requires_grad_(True)
        model.train(training)
